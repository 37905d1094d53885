"""Tar and zip archives to the source files in them, in one forward pass. Nothing is extracted to disk.

Damage is the world's, not the user's: what cannot be read becomes a Candidate that says so, and reading goes on.
Memory: one file of less than max_bytes, and of a tar's files the first 16 MB while a licence may still come; a zip's
directory (about 1 KB a member). Archives inside archives are not opened.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from megatron_codex.corpus.candidates import ARCHIVE_TOO_LARGE, NOT_A_FILE, UNREADABLE, Candidate
from megatron_codex.corpus.licences import METADATA_BYTES, licence_of_metadata
from megatron_codex.corpus.members import Container

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

_BLOCK_BYTES = 1 << 20
_HELD_BYTES = 16_000_000
_PACKAGE_INFO = re.compile(r"(?:\./)?([^/]+)/PKG-INFO")  # a source distribution's, not that of a package inside it
_WHEEL_METADATA = re.compile(r"[^/]+\.dist-info/METADATA|(?:[^/]+/|EGG-INFO/)PKG-INFO")


class _TooLarge(Exception):
    """An archive held more than it may."""


def archive_name(path: Path) -> str:
    """The archive's name without its ending; of a wheel, the distribution's name and version."""
    name = path.name
    if name.endswith(".whl"):
        return "-".join(name.split("-")[:2])
    for suffix in (".gz", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".tbz2", ".txz", ".zip", ".egg"):
        name = name.removesuffix(suffix)
    return name


def read_tar(path: Path, container: Container, *, max_archive_bytes: int) -> Iterator[Candidate]:
    """The source files of a tar, plain or compressed, in its order; after what was read, one fault for the archive."""
    held = _Held()
    try:
        for item in _tar_members(path, container, max_archive_bytes):
            yield from held.pass_on(item)
    except _TooLarge:
        yield from held.release()
        yield container.fault("", ARCHIVE_TOO_LARGE)
    except _DAMAGE:
        yield from held.release()
        yield container.fault("", UNREADABLE)
    else:
        yield from held.release()


def _tar_members(path: Path, container: Container, max_archive_bytes: int) -> Iterator[Candidate | _Licence]:
    largest_read = max(container.max_bytes * 10, _BLOCK_BYTES)
    with _decompressed(path) as raw:
        stream = _Forward(raw, max_bytes=max_archive_bytes, max_read=largest_read)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
                info = _PACKAGE_INFO.fullmatch(member.name)
                if member.isdir() or not (info or container.selection.language_of(member.name)):
                    continue
                handle = archive.extractfile(member) if member.isreg() else None
                if info:
                    if handle is not None:
                        yield _Licence(info[1], licence_of_metadata(handle.read(METADATA_BYTES)))
                elif handle is None:
                    yield container.fault(member.name, NOT_A_FILE)
                else:
                    yield container.read(handle, member.name, member.size)
            if not stream.rest_is_padding():
                yield container.fault("", UNREADABLE)


@dataclasses.dataclass(frozen=True)
class _Licence:
    """The licence of the files below one folder at the top of an archive."""

    folder: str
    licence: str


class _Held:
    """Files kept back until their package's metadata comes, which may stand anywhere: up to 16 MB of them."""

    def __init__(self) -> None:
        self._files: list[Candidate] = []
        self._bytes = 0
        self._licence: _Licence | None = None
        self._given_up = False

    def pass_on(self, item: Candidate | _Licence) -> Iterator[Candidate]:
        """Take the next file or licence; give the files that wait for nothing more."""
        if isinstance(item, _Licence):
            self._licence = item
            yield from self.release()
            return
        self._files.append(item)
        self._bytes += len(item.content)
        if self._given_up or self._licence is not None or self._bytes > _HELD_BYTES:
            # An archive that shows no metadata among its first 16 MB is no package: it is not waited for again.
            self._given_up = self._licence is None
            yield from self.release()

    def release(self) -> Iterator[Candidate]:
        """All files that are held, each with the licence of its top folder."""
        files, self._files, self._bytes = self._files, [], 0
        for item in files:
            known = self._licence is not None and item.path.startswith(self._licence.folder + "/")
            yield dataclasses.replace(item, licence=self._licence.licence) if known and self._licence else item


class _Forward:
    """A stream that is read and skipped forward: as much of a file object as tarfile needs, with limits.

    Raises: _TooLarge after max_bytes; OSError for a single read above max_read, which only a header's false claim asks.
    """

    def __init__(self, stream: IO[bytes], *, max_bytes: int, max_read: int) -> None:
        self._stream, self._max_bytes, self._max_read = stream, max_bytes, max_read
        self._position = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._max_read:
            raise OSError(f"a header asks for {size} bytes at once")
        parts = []
        while size and (part := self._stream.read(size)):  # a stream may give less than it is asked for
            parts.append(part)
            size -= len(part)
            self._position += len(part)
            if self._position > self._max_bytes:
                raise _TooLarge
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, position: int) -> None:
        """Skip forward; at the stream's end it stops, and the next read gives nothing."""
        if position < self._position:
            raise OSError("a header points back")
        while self._position < position and self.read(min(position - self._position, _BLOCK_BYTES)):
            pass

    def rest_is_padding(self) -> bool:
        """Whether an end mark follows, and zeros only: tarfile takes a damaged header or a missing end for the end."""
        found_end = False
        while block := self.read(_BLOCK_BYTES):
            found_end = True
            if block.strip(b"\0"):
                return False
        return found_end


def read_zip(path: Path, container: Container, *, max_archive_bytes: int) -> Iterator[Candidate]:
    """The source files of a zip in its order; a damaged member is counted and the others are read.

    A zip whose source files claim more than max_archive_bytes together is not read at all.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if container.selection.language_of(item.filename)]
            if sum(item.file_size for item in members) > max_archive_bytes:
                yield container.fault("", ARCHIVE_TOO_LARGE)
                return
            container = dataclasses.replace(container, licence=_licence_of_zip(archive))
            for member in members:
                if not member.is_dir():
                    yield _zip_member(archive, member, container)
    except _DAMAGE:
        yield container.fault("", UNREADABLE)


def _zip_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, container: Container) -> Candidate:
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return container.fault(member.filename, NOT_A_FILE)
    try:
        with archive.open(member) as handle:
            return container.read(handle, member.filename, member.file_size)
    except _DAMAGE:
        return container.fault(member.filename, UNREADABLE)


def _licence_of_zip(archive: zipfile.ZipFile) -> str:
    """From the first metadata at the top of a wheel, egg or source distribution; empty when it cannot be read."""
    for member in archive.infolist():
        if _WHEEL_METADATA.fullmatch(member.filename):
            try:
                with archive.open(member) as handle:
                    return licence_of_metadata(handle.read(METADATA_BYTES))
            except _DAMAGE:
                return ""
    return ""


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
