"""A unit of work to the Python files in it: directories, tar and zip archives. Nothing is extracted to disk.

Damage is the world's, not the user's: what cannot be read becomes a Candidate that says so, and reading goes on.
Memory: one file of at most max_bytes at a time, whatever the archive or its headers claim.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from megatron_codex.corpus.candidates import NOT_A_FILE, TOO_LARGE, UNREADABLE, Candidate
from megatron_codex.corpus.discover import Unit, is_python
from megatron_codex.corpus.tables import read_table

_DAMAGE = (
    OSError,
    EOFError,
    ValueError,  # zipfile and tarfile: fields that are no numbers, names that are no text
    RuntimeError,  # zipfile: an encrypted member; NotImplementedError, an unknown compression
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    tarfile.TarError,
    zipfile.BadZipFile,
)

# With blocks of this size tarfile reads no further than the member it gives, so the end can be checked.
_TAR_BLOCK = 512


def read_unit(unit: Unit, *, max_bytes: int) -> Iterator[Candidate]:
    """The unit's Python files in order; those of max_bytes or more without their content.

    Raises: InputError for a table that is damaged or has no text (tables are the user's own files).
    """
    if unit.kind == "files":
        yield from _read_files(unit, max_bytes)
    elif unit.kind == "tar":
        yield from _read_tar(unit.path, max_bytes)
    elif unit.kind == "zip":
        yield from _read_zip(unit.path, max_bytes)
    else:
        yield from read_table(unit.path, unit.kind)


def _read_files(unit: Unit, max_bytes: int) -> Iterator[Candidate]:
    source, repository = str(unit.path), unit.path.resolve().name
    for name in unit.names:
        path = unit.path / name
        try:
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                with path.open("rb") as handle:
                    yield _read(handle, name, source, repository, status.st_size, max_bytes)
            else:
                # A folder is here because it could not be listed (discover.py).
                fault = UNREADABLE if stat.S_ISDIR(status.st_mode) else NOT_A_FILE
                yield Candidate(path=name, source=source, fault=fault)
        except OSError:
            yield Candidate(path=name, source=source, fault=UNREADABLE)


def _read_tar(path: Path, max_bytes: int) -> Iterator[Candidate]:
    source, repository = str(path), _archive_name(path)
    try:
        with _decompressed(path) as stream, tarfile.open(fileobj=stream, mode="r|", bufsize=_TAR_BLOCK) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
                if not is_python(member.name) or member.isdir():
                    continue
                handle = archive.extractfile(member) if member.isreg() else None
                if handle is None:
                    yield Candidate(path=member.name, source=source, fault=NOT_A_FILE)
                else:
                    yield _read(handle, member.name, source, repository, member.size, max_bytes)
            if not _rest_is_padding(stream):
                yield Candidate(path="", source=source, fault=UNREADABLE)
    except _DAMAGE:
        yield Candidate(path="", source=source, fault=UNREADABLE)


def _rest_is_padding(stream: IO[bytes]) -> bool:
    """Whether an end mark follows, and zeros only: tarfile takes a damaged header or a missing end for the end."""
    found_end = False
    while block := stream.read(1 << 20):
        found_end = True
        if block.strip(b"\0"):
            return False
    return found_end


def _read_zip(path: Path, max_bytes: int) -> Iterator[Candidate]:
    source, repository = str(path), _archive_name(path)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not is_python(member.filename):
                    continue
                if stat.S_ISLNK(member.external_attr >> 16):
                    yield Candidate(path=member.filename, source=source, fault=NOT_A_FILE)
                    continue
                try:
                    with archive.open(member) as handle:
                        yield _read(handle, member.filename, source, repository, member.file_size, max_bytes)
                except _DAMAGE:
                    yield Candidate(path=member.filename, source=source, fault=UNREADABLE)
    except _DAMAGE:
        yield Candidate(path="", source=source, fault=UNREADABLE)


def _read(handle: IO[bytes], path: str, source: str, repository: str, declared_bytes: int, max_bytes: int) -> Candidate:
    """Read no more than tells that a file is too large: declared sizes are not trusted with memory."""
    content = handle.read(max_bytes)
    size_bytes = max(declared_bytes, len(content))
    fault = TOO_LARGE if size_bytes >= max_bytes else ""
    return Candidate(
        path=path,
        source=source,
        repository=repository,
        content=b"" if fault else content,
        size_bytes=size_bytes,
        fault=fault,
    )


def _archive_name(path: Path) -> str:
    """The archive's name without its ending; of a wheel, the distribution's name and version."""
    name = path.name
    if name.endswith(".whl"):
        return "-".join(name.split("-")[:2])
    for suffix in (".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".tbz2", ".txz", ".zip", ".egg"):
        name = name.removesuffix(suffix)
    return name


@contextmanager
def _decompressed(path: Path) -> Iterator[IO[bytes]]:
    """The archive's plain bytes as a forward-only stream."""
    with path.open("rb") as raw:
        suffix = path.suffix.lower()
        if suffix in (".gz", ".tgz"):
            with gzip.open(raw) as stream:
                yield cast(IO[bytes], stream)
        elif suffix in (".bz2", ".tbz2"):
            with bz2.open(raw) as stream:
                yield cast(IO[bytes], stream)
        elif suffix in (".xz", ".txz"):
            with lzma.open(raw) as stream:
                yield cast(IO[bytes], stream)
        elif suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                yield cast(IO[bytes], stream)
        else:
            yield raw
