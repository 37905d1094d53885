"""A unit of work to the source files in it, as Candidates: directories, archives, git repositories, tables.

Damage is the world's, not the user's: what cannot be read becomes a Candidate that says so, and reading goes on.
Memory: tars.py, archives.py and git_repositories.py say theirs; a directory costs one file of less than max_bytes.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterator
from pathlib import Path

from megatron_codex.corpus.archives import archive_name, read_zip
from megatron_codex.corpus.candidates import NOT_A_FILE, UNREADABLE, Candidate
from megatron_codex.corpus.discover import Unit
from megatron_codex.corpus.git_repositories import read_repository
from megatron_codex.corpus.licences import LICENCE_FILES, licence_of_file
from megatron_codex.corpus.members import Container
from megatron_codex.corpus.tables import read_table
from megatron_codex.corpus.tars import TarRange, read_tar

_LICENCE_BYTES = 4_096


def read_unit(unit: Unit, *, max_bytes: int) -> Iterator[Candidate]:
    """The unit's source files in order; those of max_bytes or more without their content.

    Raises: InputError for a table that is damaged or has no text (tables are the user's own files), and for a
    repository when git is not there.
    """
    container = container_of(unit, max_bytes=max_bytes)
    if unit.kind == "files":
        yield from _read_files(unit, container)
    elif unit.kind == "git":
        yield from read_repository(
            unit.path, container, max_archive_bytes=unit.max_archive_bytes, timeout_s=unit.git_timeout_s
        )
    elif unit.kind == "tar":
        members = TarRange(begin=unit.begin, end=unit.end, licence=unit.licence)
        yield from read_tar(unit.path, container, max_archive_bytes=unit.max_archive_bytes, of=members)
    elif unit.kind == "zip":
        yield from read_zip(unit.path, container, max_archive_bytes=unit.max_archive_bytes)
    else:
        positions = range(unit.begin, unit.end)
        yield from read_table(unit.path, unit.kind, selection=unit.selection, positions=positions)


def container_of(unit: Unit, *, max_bytes: int) -> Container:
    """What the unit's files have in common, as far as the unit itself says."""
    return Container(
        source=str(unit.path), repository=_repository_of(unit), selection=unit.selection, max_bytes=max_bytes
    )


def _read_files(unit: Unit, container: Container) -> Iterator[Candidate]:
    container = dataclasses.replace(container, licence=_licence_of_directory(unit.path))
    for name in unit.names:
        path = unit.path / name
        try:
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                with path.open("rb") as handle:
                    yield container.read(handle, name, status.st_size)
            else:
                # A folder is here because it could not be listed (discover.py).
                yield container.fault(name, UNREADABLE if stat.S_ISDIR(status.st_mode) else NOT_A_FILE)
        except OSError:
            yield container.fault(name, UNREADABLE)


def _licence_of_directory(root: Path) -> str:
    for name in LICENCE_FILES:
        try:
            if stat.S_ISREG((root / name).lstat().st_mode):
                with (root / name).open("rb") as handle:
                    return licence_of_file(handle.read(_LICENCE_BYTES))
        except OSError:
            continue
    return ""


def _repository_of(unit: Unit) -> str:
    if unit.kind == "files":
        return unit.path.resolve().name
    if unit.kind == "git":
        path = unit.path.resolve()
        return (path.parent if path.name == ".git" else path).name.removesuffix(".git")
    return archive_name(unit.path)
