"""Requirements as lines of text: requirements.txt and its kin, and the words of a `pip install` command.

In: text of other people. Out: requirement strings. Options, URLs and paths are left out: nothing but names, versions,
extras and markers ever reaches pip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 5
_COMMENT = re.compile(r"(?:^|\s)#.*")
_INCLUDE = re.compile(r"(?:-r|--requirement)[\s=]*(\S+)")
_TRAILING_OPTION = re.compile(r"\s+--?\w.*")


def read_requirements(root: Path, name: str, *, depth: int = 0) -> Iterator[str]:
    """The requirements of a file below root, and of the files that it includes from there."""
    path = root / name
    if depth > _MAX_DEPTH or not is_inside(path, root) or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return
    text = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
    for line in (_COMMENT.sub("", line).strip() for line in text.splitlines()):
        included = _INCLUDE.match(line)
        if included:
            inner = path.parent / included.group(1)
            if is_inside(inner, root):
                yield from read_requirements(root, inner.relative_to(root).as_posix(), depth=depth + 1)
        elif line and not line.startswith("-"):
            yield from plain_requirements([_TRAILING_OPTION.sub("", line)])


def plain_requirements(lines: Iterable[object]) -> Iterator[str]:
    """Those that are requirements of a package by name, in their usual spelling."""
    for line in lines:
        requirement = parse(str(line))
        if requirement is not None:
            yield str(requirement)


def parse(text: str) -> Requirement | None:
    """A requirement by name; None for any other text, a URL or a path."""
    try:
        requirement = Requirement(text.strip())
    except InvalidRequirement:
        return None
    return None if requirement.url else requirement


def is_inside(path: Path, root: Path) -> bool:
    """Whether a path of a project stays in it, links followed."""
    return path.resolve().is_relative_to(root.resolve())
