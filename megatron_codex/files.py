"""Files that are whole or absent: written under a temporary name, fsynced, renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from megatron_codex.errors import InputError

_BLOCK_BYTES = 1 << 20


@contextmanager
def atomic_file(path: Path | str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success it is fsynced and renamed to `path`, on an error removed.

    mode: "wb" or "w" (UTF-8).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    encoding = None if "b" in mode else "utf-8"
    try:
        with temporary.open(mode, encoding=encoding) as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Path | str) -> Iterator[Path]:
    """Yield a temporary directory beside `path`, renamed to `path` on success and removed on an error.

    Files written through atomic_file inside it are already fsynced.
    Raises: InputError when `path` exists and is not empty.
    """
    path = Path(path)
    require_absent(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_name(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            path.rmdir()
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_file(path: Path | str, what: str) -> Path:
    """The path, when it is a readable non-empty file; InputError naming `what` it should be otherwise."""
    path = Path(path)
    if not path.is_file():
        rule = "is a directory, not a file" if path.is_dir() else "no such file"
        raise InputError(str(path), rule=f"{rule} ({what})", remedy="check the path")
    if path.stat().st_size == 0:
        raise InputError(str(path), rule=f"the file is empty ({what})", remedy="write it again from its source")
    if not os.access(path, os.R_OK):
        raise InputError(str(path), rule=f"not readable ({what})", remedy="give read permission")
    return path


def require_absent(path: Path) -> None:
    """Raise InputError when an output path is already taken by something that is not an empty directory."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise InputError(
            str(path), rule="the output exists already", remedy="name another output or remove this one first"
        )


def sha256_file(path: Path | str, *, stop: threading.Event | None = None) -> str:
    """Hexadecimal SHA-256 of a file's bytes. stop: once set by another thread, InterruptedError is raised."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while block := handle.read(_BLOCK_BYTES):
            if stop is not None and stop.is_set():
                raise InterruptedError(f"{path}: no longer hashed")
            digest.update(block)
    return digest.hexdigest()


def sync_directory(path: Path) -> None:
    """fsync a directory, so that a rename in it survives a crash."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
