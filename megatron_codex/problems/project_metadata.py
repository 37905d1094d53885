"""Name, version and licence of a project, from the files that say them.

In: a project's root. Out: Metadata; PKG-INFO (sdist), METADATA (wheel), *.egg-info, pyproject.toml, in this order.
"""

from __future__ import annotations

import email.parser
import re
import tomllib
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

_PATTERNS = ("PKG-INFO", "*.dist-info/METADATA", "*.egg-info/PKG-INFO", "src/*.egg-info/PKG-INFO")
_VISIBLE = ("*.dist-info", "*.egg-info", "src/*.egg-info", "src/*.dist-info")
_ARCHIVE_SUFFIX = re.compile(r"\.(tar(\.\w+)?|tgz|zip|whl)$")
_LICENCE_CLASSIFIER = "License :: OSI Approved :: "
_MAX_LICENCE_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """licence: an SPDX expression, or the words the project uses, or empty."""

    name: str
    version: str
    licence: str


def read_metadata(root: Path, *, default_name: str) -> Metadata:
    """default_name: the archive's or directory's name, for a project that does not say its own."""
    for pattern in _PATTERNS:
        for path in sorted(root.glob(pattern)):
            message = email.parser.Parser().parsestr(path.read_text(encoding="utf-8", errors="replace"))
            if message["Name"] and message["Version"]:
                return Metadata(
                    name=_word(message["Name"]), version=_word(message["Version"]), licence=_licence(message)
                )
    project = _pyproject(root)
    name = project.get("name") or _ARCHIVE_SUFFIX.sub("", default_name)
    return Metadata(
        name=_word(str(name)),
        version=_word(str(project.get("version") or "0")),
        licence=_pyproject_licence(project),
    )


def provide_metadata(root: Path, metadata: Metadata) -> None:
    """Let importlib.metadata find the project as if it were installed: many ask for their own version."""
    if any(any(root.glob(pattern)) for pattern in _VISIBLE):
        return
    directory = root / f"{metadata.name.replace('-', '_')}-{metadata.version}.dist-info"
    directory.mkdir()
    text = f"Metadata-Version: 2.1\nName: {metadata.name}\nVersion: {metadata.version}\n"
    (directory / "METADATA").write_text(text, encoding="utf-8")


def _licence(message: Message) -> str:
    expression = message["License-Expression"]
    classifiers = [
        str(line).removeprefix(_LICENCE_CLASSIFIER)
        for line in message.get_all("Classifier", [])
        if str(line).startswith(_LICENCE_CLASSIFIER)
    ]
    return _one_line(str(expression or ", ".join(classifiers) or message["License"] or ""))


def _pyproject(root: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    project = content.get("project")
    return project if isinstance(project, dict) else {}


def _pyproject_licence(project: dict[str, Any]) -> str:
    licence = project.get("license", "")
    return _one_line(str(licence.get("text", "")) if isinstance(licence, dict) else str(licence))


def _one_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:_MAX_LICENCE_CHARS] if lines else ""


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._+!-]+", "-", text.strip()) or "unnamed"
