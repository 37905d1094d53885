"""A bare git repository to the source files of its HEAD, read from one `git cat-file --batch`.

A repository is untrusted data: neither its hooks nor its configuration may start a program, no object that it lacks is
fetched, and nothing of the user's git configuration or environment takes part.
Memory: one file of less than max_bytes, the trees on the way to it, and what git itself needs for one object.
"""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple, Self

from megatron_codex.corpus.candidates import ARCHIVE_TOO_LARGE, NOT_A_FILE, TOO_LARGE, UNREADABLE, Candidate
from megatron_codex.corpus.licences import LICENCE_FILES, licence_of_file
from megatron_codex.corpus.members import Container
from megatron_codex.errors import InputError

_TREE, _LINK, _SUBMODULE = "40000", "120000", "160000"
_BLOCK_BYTES = 1 << 20
_MAX_TREE_BYTES = 64_000_000
_MAX_ENTRIES = 5_000_000
"""Of all trees together. Equal trees can stand in each other, so that a few kilobytes describe billions of files; the
largest repositories known have about a million."""
_MAX_PATH_CHARS = 4_096
_MAX_RESTARTS = 10

_SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.bigFileThreshold": "16m",  # larger files are not held in memory by git
}
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    # A partial clone names a remote, which may be a command, from which git would fetch what is missing.
    "GIT_NO_LAZY_FETCH": "1",  # git 2.45 and later
    "GIT_ALLOW_PROTOCOL": "none",  # any git: no transport of this name exists
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}


class _Entry(NamedTuple):
    mode: str
    name: str
    object_name: str


class _Damaged(Exception):
    """An object that is missing, of another type, or not to be read."""


class _TooLarge(Exception):
    """A repository holds more than it may."""


def is_repository(path: Path) -> bool:
    """Whether a directory is a bare git repository (a work tree's .git looks the same)."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()


def require_git() -> None:
    """Raises: InputError when there is no git to read repositories with."""
    if shutil.which("git") is None:
        remedy = "install git, or give the repositories as tar archives of their files"
        raise InputError("git", rule="is not on PATH, and reads the bare repositories of the input", remedy=remedy)


def read_repository(path: Path, container: Container, *, max_archive_bytes: int) -> Iterator[Candidate]:
    """The source files of HEAD in git's order. Submodules, and links with a source file's name, are no files.

    A file that is missing or damaged is counted and the others are read; a repository without a commit, or one that
    cannot be read, is counted once.
    Raises: InputError when git is not there.
    """
    require_git()
    try:
        with _Objects(path, max_bytes=max_archive_bytes) as objects:
            yield from _walk(objects, container)
    except _TooLarge:
        yield container.fault("", ARCHIVE_TOO_LARGE)
    except (_Damaged, OSError):
        yield container.fault("", UNREADABLE)


def _walk(objects: _Objects, container: Container) -> Iterator[Candidate]:
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
            except _Damaged:
                yield container.fault(name, UNREADABLE)
                continue
            num_entries += len(inner)
            if num_entries > _MAX_ENTRIES or len(name) > _MAX_PATH_CHARS:
                raise _TooLarge
            waiting.append((f"{name}/", iter(inner)))
        elif entry.mode == _SUBMODULE or (entry.mode == _LINK and container.selection.language_of(name)):
            yield container.fault(name, NOT_A_FILE)
        elif container.selection.language_of(name):
            yield _file(objects, entry.object_name, name, container)


def _file(objects: _Objects, object_name: str, name: str, container: Container) -> Candidate:
    try:
        size, content = objects.content(object_name, "blob", limit=container.limit(name))
    except _Damaged:
        return container.fault(name, UNREADABLE)
    if content is None:
        return container.fault(name, TOO_LARGE, size_bytes=size)
    return container.read(io.BytesIO(content), name, size)


def _with_licence(objects: _Objects, top: list[_Entry], container: Container) -> Container:
    files = {entry.name: entry for entry in top if entry.mode not in (_TREE, _LINK, _SUBMODULE)}
    found = next((files[name] for name in LICENCE_FILES if name in files), None)
    if found is None:
        return container
    try:
        _, content = objects.content(found.object_name, "blob", limit=_BLOCK_BYTES)
    except _Damaged:
        return container
    return dataclasses.replace(container, licence=licence_of_file(content or b""))


class _Objects:
    """The objects of one repository. A process that dies of a damaged object is started again, a few times."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
        location = f"--git-dir={path.resolve()}"
        self._command = ["git", "--no-replace-objects", *settings, location, "cat-file", "--batch"]
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._restarts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def tree(self, name: str) -> list[_Entry]:
        """The entries of a tree in git's order. Raises: _Damaged, _TooLarge."""
        _, content = self.content(name, "tree", limit=_MAX_TREE_BYTES)
        if content is None:
            raise _TooLarge
        entries, position = [], 0
        while position < len(content):
            space, end = content.find(b" ", position), content.find(b"\0", position)
            after = end + 1 + self._name_bytes
            if not position < space < end or after > len(content):
                raise _Damaged
            file_name = content[space + 1 : end].decode("utf-8", "surrogateescape")
            mode = content[position:space].decode("ascii", "replace").lstrip("0")
            entries.append(_Entry(mode, file_name, content[end + 1 : after].hex()))
            position = after
        return entries

    def content(self, name: str, kind: str, *, limit: int) -> tuple[int, bytes | None]:
        """(size in bytes, content; None when it is of `limit` bytes or more). Raises: _Damaged, _TooLarge."""
        to_git, from_git = self._pipes()
        try:
            to_git.write(name.encode() + b"\n")
            to_git.flush()
            header = from_git.readline(1_000).split()
        except OSError as error:
            self._stop()
            raise _Damaged from error
        if len(header) == 2 and header[1] in (b"missing", b"ambiguous"):
            raise _Damaged
        if len(header) != 3 or not header[2].isdigit():
            self._stop()
            raise _Damaged
        self._name_bytes = len(header[0]) // 2  # 20 of SHA-1, 32 of SHA-256
        size = int(header[2])
        self._num_bytes += size
        if self._num_bytes > self._max_bytes:
            raise _TooLarge
        content = self._take(from_git, size, keep=size < limit and header[1] == kind.encode())
        if header[1] != kind.encode():
            raise _Damaged
        return size, content

    def _take(self, from_git: IO[bytes], size: int, *, keep: bool) -> bytes | None:
        """Read an object and the line end after it, so that the next answer begins."""
        parts = []
        left = size + 1
        while left:
            part = from_git.read(min(left, _BLOCK_BYTES))
            if not part:
                self._stop()
                raise _Damaged
            left -= len(part)
            if keep:
                parts.append(part)
        return b"".join(parts)[:-1] if keep else None

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None:
            if self._restarts > _MAX_RESTARTS:
                raise OSError("git died again and again")
            environment = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT}
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
            self._restarts += 1
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:
                pass
            self._process = None
