"""Tar archives, plain or compressed, to the source files in them, in one forward pass. Nothing is extracted to disk.

A plain tar may be read in ranges of its members, by several readers; a compressed one is a stream, and is read whole.
Damage is the world's, not the user's: what cannot be read becomes a Candidate that says so, and reading goes on.
Memory: one file of less than max_bytes, and the first 16 MB of files while a licence may still come.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import zstandard

from megatron_codex.corpus.archives import DAMAGE
from megatron_codex.corpus.candidates import ARCHIVE_TOO_LARGE, NOT_A_FILE, UNREADABLE, Candidate
from megatron_codex.corpus.licences import METADATA_BYTES, licence_of_metadata
from megatron_codex.corpus.members import Container

_BLOCK_BYTES = 1 << 20
_HELD_BYTES = 16_000_000
_PACKAGE_INFO = re.compile(r"(?:\./)?([^/]+)/PKG-INFO")  # a source distribution's, not that of a package inside it

_Licence = tuple[str, str]
"""A folder at the top of an archive, and the licence of the files below it."""


class _TooLarge(Exception):
    """An archive held more than it may."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TarRange:
    """The members whose headers begin at one of these bytes of a plain tar, and what their reader must know of others.

    The ranges that tar_ranges gives hold each member once, and are read as if they were read one after the other.
    """

    begin: int = 0
    end: int = sys.maxsize
    licence: _Licence | None = None
    """Top folder and licence of the last package metadata before `begin`."""


def read_tar(
    path: Path, container: Container, *, max_archive_bytes: int, of: TarRange = TarRange()
) -> Iterator[Candidate]:
    """The source files of a tar, plain or compressed, in its order; after what was read, one fault for the archive."""
    held = _Held(of)
    try:
        for item, num_bytes in _tar_members(path, container, max_archive_bytes, of):
            yield from held.pass_on(item, num_bytes)
    except _TooLarge:
        yield from held.release()
        yield container.fault("", ARCHIVE_TOO_LARGE)
    except DAMAGE:
        yield from held.release()
        yield container.fault("", UNREADABLE)
    else:
        yield from held.release()


def tar_ranges(path: Path, container: Container, *, max_archive_bytes: int, range_bytes: int) -> list[TarRange]:
    """A plain tar in ranges of at least range_bytes each, but for the last. Reads the headers and skips what they head.

    A range begins where it is settled which licence the files have (_Held). Damage is found again, and counted, by who
    reads the last range. Behind a global header that says more than a comment, as git's does, nothing is divided.
    """
    ranges = [TarRange()]
    held = _Held(ranges[0])
    try:
        with _open_tar(path, container, max_archive_bytes, at=0) as (_, archive):
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]
                if set(archive.pax_headers) - {"comment"}:
                    break
                if held.is_settled and member.offset - ranges[-1].begin >= range_bytes:
                    ranges[-1] = dataclasses.replace(ranges[-1], end=member.offset)
                    ranges.append(TarRange(begin=member.offset, licence=held.licence))
                if (licence := _licence_in(archive, member)) is not None:
                    held.learn(licence)
                else:
                    held.count(_held_bytes(member, container))
    except (_TooLarge, *DAMAGE):
        pass
    return ranges


def _tar_members(
    path: Path, container: Container, max_archive_bytes: int, of: TarRange
) -> Iterator[tuple[Candidate | _Licence, int]]:
    with _open_tar(path, container, max_archive_bytes, at=of.begin) as (stream, archive):
        while (member := archive.next()) is not None:
            if member.offset >= of.end:
                return
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep every header
            if (licence := _licence_in(archive, member)) is not None:
                yield licence, 0
            elif not member.isdir() and container.selection.language_of(member.name):
                handle = archive.extractfile(member) if member.isreg() else None
                if handle is None:
                    yield container.fault(member.name, NOT_A_FILE), 0
                else:
                    yield container.read(handle, member.name, member.size), _held_bytes(member, container)
        if not stream.rest_is_padding():
            yield container.fault("", UNREADABLE), 0


@contextmanager
def _open_tar(
    path: Path, container: Container, max_archive_bytes: int, *, at: int
) -> Iterator[tuple[_Forward, tarfile.TarFile]]:
    largest_read = max(container.max_bytes * 10, _BLOCK_BYTES)
    with _decompressed(path) as raw:
        stream = _Forward(raw, max_bytes=max_archive_bytes, max_read=largest_read, at=at)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
            yield stream, archive


def _licence_in(archive: tarfile.TarFile, member: tarfile.TarInfo) -> _Licence | None:
    """What a package's metadata says; None of any other member."""
    info = _PACKAGE_INFO.fullmatch(member.name)
    if info is None or not member.isreg():
        return None
    handle = archive.extractfile(member)
    assert handle is not None
    return info[1], licence_of_metadata(handle.read(METADATA_BYTES))


def _held_bytes(member: tarfile.TarInfo, container: Container) -> int:
    """What a file counts while it waits for its licence, by its header: nothing where it is not read."""
    if not member.isreg() or not container.selection.language_of(member.name):
        return 0
    return member.size if member.size < container.limit(member.name) else 0


class _Held:
    """Files kept back until their package's metadata comes, which may stand anywhere: up to 16 MB of them."""

    def __init__(self, of: TarRange) -> None:
        self.licence = of.licence
        self._files: list[Candidate] = []
        self._bytes = 0
        # An archive that shows no metadata among its first 16 MB is no package: it is not waited for again.
        self._given_up = of.begin > 0 and of.licence is None

    @property
    def is_settled(self) -> bool:
        """Whether no file waits for anything."""
        return self._given_up or self.licence is not None

    def count(self, num_bytes: int) -> None:
        """Take note of a file."""
        self._bytes += num_bytes
        self._given_up = self.licence is None and (self._given_up or self._bytes > _HELD_BYTES)

    def learn(self, licence: _Licence) -> None:
        """Take note of a package's metadata."""
        self.licence = licence
        self._given_up = False

    def pass_on(self, item: Candidate | _Licence, num_bytes: int) -> Iterator[Candidate]:
        """Take the next file or licence; give the files that wait for nothing more."""
        if isinstance(item, tuple):
            self.learn(item)
            yield from self.release()
            return
        self._files.append(item)
        self.count(num_bytes)
        if self.is_settled:
            yield from self.release()

    def release(self) -> Iterator[Candidate]:
        """All files that are held, each with the licence of its top folder."""
        files, self._files = self._files, []
        folder, licence = self.licence or ("", "")
        for item in files:
            known = self.licence is not None and item.path.startswith(folder + "/")
            yield dataclasses.replace(item, licence=licence) if known else item


class _Forward:
    """A stream that is read and skipped forward: as much of a file object as tarfile needs, with limits.

    Raises: _TooLarge after max_bytes; OSError for a single read above max_read, which only a header's false claim asks.
    """

    def __init__(self, stream: IO[bytes], *, max_bytes: int, max_read: int, at: int = 0) -> None:
        self._stream, self._max_bytes, self._max_read = stream, max_bytes, max_read
        self._position = at
        # Of a plain file, what is skipped need not be read.
        self._size = os.fstat(stream.fileno()).st_size if isinstance(stream, io.BufferedReader) else None
        if at:
            stream.seek(at)

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._max_read:
            raise OSError(f"a header asks for {size} bytes at once")
        parts = []
        while size and (part := self._stream.read(size)):  # a stream may give less than it is asked for
            parts.append(part)
            size -= len(part)
            self._advance(self._position + len(part))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, position: int) -> None:
        """Skip forward; at the stream's end it stops, and the next read gives nothing."""
        if position < self._position:
            raise OSError("a header points back")
        if self._size is not None:
            end = min(position, max(self._size, self._position))
            self._stream.seek(end)
            self._advance(end)
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

    def _advance(self, position: int) -> None:
        self._position = position
        if position > self._max_bytes:
            raise _TooLarge


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
