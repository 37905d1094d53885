"""Exercism's problem specifications as they lie: a directory or a .tar(.gz) of exercises.

In: a path with .../SLUG/canonical-data.json somewhere in it. Out: each exercise's files as text.
"""

from __future__ import annotations

import tarfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from megatron_codex.errors import InputError

CASES = "canonical-data.json"
DEPRECATED = ".deprecated"
STATEMENT_FILES = ("introduction.md", "instructions.md", "description.md")
_KEPT = (CASES, DEPRECATED, *STATEMENT_FILES)
_MAX_FILE_BYTES = 8 << 20
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


def is_archive(path: Path) -> bool:
    """Whether a path can hold specifications: a tar file by its name, a directory by what is in it."""
    if path.is_dir():
        return next(path.glob(f"**/{CASES}"), None) is not None
    return path.name.endswith(_SUFFIXES)


def read_exercises(path: Path) -> dict[str, dict[str, str]]:
    """Files (name -> text) of each exercise that has any of them, by slug, in order.

    Raises: InputError for an archive that cannot be read, a file too large, or a path without exercises.
    """
    exercises: dict[str, dict[str, str]] = defaultdict(dict)
    files = _in_directory(path) if path.is_dir() else _in_archive(path)
    for name, data in files:
        exercises[name.parent.name][name.name] = data.decode("utf-8", errors="replace")
    if not any(CASES in each for each in exercises.values()):
        remedy = "name a copy of exercism/problem-specifications"
        raise InputError(str(path), rule=f"has no exercise with {CASES}", remedy=remedy)
    return {slug: exercises[slug] for slug in sorted(exercises)}


def _in_directory(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.name in _KEPT and file.is_file():
            _check_size(str(file), file.stat().st_size)
            yield PurePosixPath(file.relative_to(path.parent).as_posix()), file.read_bytes()


def _in_archive(path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                handle = archive.extractfile(member) if name.name in _KEPT and member.isfile() else None
                if handle is not None:
                    _check_size(f"{path}: {name}", member.size)
                    yield name, handle.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        rule = f"not readable as a tar archive ({error})"
        raise InputError(str(path), rule=rule, remedy="fetch it again from its source") from error


def _check_size(where: str, num_bytes: int) -> None:
    if num_bytes > _MAX_FILE_BYTES:
        rule = f"must be at most {_MAX_FILE_BYTES} bytes"
        raise InputError(where, value=num_bytes, rule=rule, remedy="leave this exercise out")
