"""A file's name in an archive, table or directory to the path under which it is stored: text, never opened."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_CHARS = 1_024


def stored_path(name: str) -> str:
    """The name as a relative path with forward slashes that leads nowhere outside its source.

    "." and ".." are resolved, what would lead above the top is left out, as are a leading slash and a drive's letter.
    Control characters become "?"; of a name of more than 1,024 characters the end is kept.

    >>> stored_path("/a//b/../../../etc/c.py")
    'etc/c.py'
    """
    if _is_plain(name):
        return name
    parts: list[str] = []
    for part in _CONTROL.sub("?", name).replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", ".") and not (_DRIVE.fullmatch(part) and not parts):
            parts.append(part)
    return "/".join(parts)[-_MAX_CHARS:]


def _is_plain(name: str) -> bool:
    """Whether a name is stored as it is: nearly all are, and this costs a tenth."""
    strange = ".." in name or "//" in name or "./" in name or "\\" in name or ":" in name
    return not (strange or name.startswith("/") or len(name) > _MAX_CHARS or not name.isprintable())
