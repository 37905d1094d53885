"""A bare git repository to the source files of its HEAD, whose objects git_objects.py reads.

Memory: one file of less than max_bytes, the trees on the way to it, and what git itself needs for one object.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

from megatron_codex.corpus.candidates import ARCHIVE_TOO_LARGE, NOT_A_FILE, STALLED, TOO_LARGE, UNREADABLE, Candidate
from megatron_codex.corpus.git_objects import Damaged, Entry, Objects, Stalled, TooLarge
from megatron_codex.corpus.licences import LICENCE_FILES, licence_of_file
from megatron_codex.corpus.members import Container
from megatron_codex.errors import InputError

_TREE, _LINK, _SUBMODULE = "40000", "120000", "160000"
_MAX_ENTRIES = 5_000_000
"""Of all trees together. Equal trees can stand in each other, so that a few kilobytes describe billions of files; the
largest repositories known have about a million."""
_MAX_PATH_CHARS = 4_096
_LICENCE_BYTES = 1 << 20


def is_repository(path: Path) -> bool:
    """Whether a directory is a bare git repository (a work tree's .git looks the same)."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def require_git() -> None:
    """Raises: InputError when there is no git to read repositories with."""
    if shutil.which("git") is None:
        remedy = "install git, or give the repositories as tar archives of their files"
        raise InputError("git", rule="is not on PATH, and reads the bare repositories of the input", remedy=remedy)


def read_repository(
    path: Path, container: Container, *, max_archive_bytes: int, timeout_s: float
) -> Iterator[Candidate]:
    """The source files of HEAD in git's order. Submodules, and links with a source file's name, are no files.

    A file that is missing or damaged is counted and the others are read; a repository without a commit, one that cannot
    be read, or one of which git gives nothing for timeout_s, is counted once, after what was read of it.
    Raises: InputError when git is not there.
    """
    require_git()
    try:
        with Objects(path, max_bytes=max_archive_bytes, timeout_s=timeout_s) as objects:
            yield from _walk(objects, container)
    except Stalled:
        yield container.fault("", STALLED)
    except TooLarge:
        yield container.fault("", ARCHIVE_TOO_LARGE)
    except (Damaged, OSError):
        yield container.fault("", UNREADABLE)


def _walk(objects: Objects, container: Container) -> Iterator[Candidate]:
    top = objects.tree("HEAD^{tree}")
    container = _with_licence(objects, top, container)
    waiting = [("", iter(top))]
    num_entries = len(top)
    while waiting:
        prefix, entries = waiting[-1]
        entry = next(entries, None)
        if entry is None:
            waiting.pop()
            continue
        name = prefix + entry.name
        if entry.mode == _TREE:
            try:
                inner = objects.tree(entry.object_name)
            except Damaged:
                yield container.fault(name, UNREADABLE)
                continue
            num_entries += len(inner)
            if num_entries > _MAX_ENTRIES or len(name) > _MAX_PATH_CHARS:
                raise TooLarge
            waiting.append((f"{name}/", iter(inner)))
        elif entry.mode == _SUBMODULE or (entry.mode == _LINK and container.selection.language_of(name)):
            yield container.fault(name, NOT_A_FILE)
        elif container.selection.language_of(name):
            yield _file(objects, entry.object_name, name, container)


def _file(objects: Objects, object_name: str, name: str, container: Container) -> Candidate:
    try:
        size, content = objects.content(object_name, "blob", limit=container.limit(name))
    except Damaged:
        return container.fault(name, UNREADABLE)
    if content is None:
        return container.fault(name, TOO_LARGE, size_bytes=size)
    return container.read(io.BytesIO(content), name, size)


def _with_licence(objects: Objects, top: list[Entry], container: Container) -> Container:
    files = {entry.name: entry for entry in top if entry.mode not in (_TREE, _LINK, _SUBMODULE)}
    found = next((files[name] for name in LICENCE_FILES if name in files), None)
    if found is None:
        return container
    try:
        _, content = objects.content(found.object_name, "blob", limit=_LICENCE_BYTES)
    except Damaged:
        return container
    return dataclasses.replace(container, licence=licence_of_file(content or b""))
