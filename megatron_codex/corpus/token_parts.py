"""Part files: the tokens and document lengths of one task, whole or absent, waiting to be joined into a .bin/.idx.

A part is the token ids end to end, the documents' lengths (int32), and a footer (_FOOTER) with counts and a checksum of
all before it, little-endian. It is renamed into place but not fsynced: the disk is the slowest link of the chain, and
most parts are joined and removed before they would have to reach it. What a power failure leaves of one, the checksum
tells from a whole one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

_MAGIC = b"MCXPART1"
_FOOTER = struct.Struct("<QQQQQ8s")  # tokens, documents, empty documents, bytes of text, XXH3-64, magic

_BLOCK_DOCUMENTS = 1 << 16
_BLOCK_TOKENS = 1 << 22


class DamagedPart(Exception):
    """A part file that is not whole."""


@dataclass(frozen=True, kw_only=True)
class PartCounts:
    """What a part holds."""

    num_tokens: int
    num_documents: int
    num_empty: int
    """Documents without a token, which were left out."""
    text_bytes: int


class PartWriter:
    """Write one part, batch by batch. A context manager: the file appears when it is left without error.

    Memory: 4 bytes a document.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._digest = xxhash.xxh3_64()
        self._sizes: list[NDArray[np.int32]] = []
        self._num_tokens = self._num_empty = self._text_bytes = 0

    def __enter__(self) -> Self:
        self._file = self._temporary.open("wb")
        return self

    def add(self, ids: NDArray[np.integer[Any]], counts: NDArray[np.int64], *, text_bytes: int) -> None:
        """Append documents: their ids end to end, how many are each one's (0: it is left out), bytes of their text."""
        self._write(ids.astype(ids.dtype.newbyteorder("<"), copy=False))
        self._sizes.append(counts[counts > 0].astype("<i4"))
        self._num_tokens += len(ids)
        self._num_empty += int((counts == 0).sum())
        self._text_bytes += text_bytes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self._file:
                if kind is None:
                    self._finish()
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _finish(self) -> None:
        for sizes in self._sizes:
            self._write(sizes)
        num_documents = sum(map(len, self._sizes))
        counts = (self._num_tokens, num_documents, self._num_empty, self._text_bytes)
        self._file.write(_FOOTER.pack(*counts, self._digest.intdigest(), _MAGIC))

    def _write(self, values: NDArray[np.integer[Any]]) -> None:
        self._digest.update(values.data)
        self._file.write(values.data)


def read_counts(path: Path, dtype: np.dtype[Any]) -> PartCounts:
    """What a part holds, by its footer. Raises: DamagedPart when the file's size is another."""
    counts, _ = _read_footer(path, dtype)
    return counts


def read_part(path: Path, dtype: np.dtype[Any]) -> Iterator[tuple[NDArray[np.integer[Any]], NDArray[np.int32]]]:
    """Yield (token ids, lengths) of a few whole documents at a time.

    Memory: about 8 MB, or the longest document. Raises: DamagedPart, at the end at the latest, when the part is not as
    it was written.
    """
    counts, checksum = _read_footer(path, dtype)
    digest = xxhash.xxh3_64()
    with path.open("rb") as tokens, path.open("rb") as lengths:
        lengths.seek(counts.num_tokens * dtype.itemsize)
        remaining = counts.num_tokens
        for start in range(0, counts.num_documents, _BLOCK_DOCUMENTS):
            sizes = np.fromfile(lengths, "<i4", min(_BLOCK_DOCUMENTS, counts.num_documents - start))
            ends = np.cumsum(sizes, dtype=np.int64)
            if sizes.min() < 0 or ends[-1] > remaining:
                raise DamagedPart(path)
            remaining -= int(ends[-1])
            first = begin = 0
            while first < len(sizes):
                stop = max(first + 1, int(np.searchsorted(ends, begin + _BLOCK_TOKENS, side="right")))
                ids = np.fromfile(tokens, dtype.newbyteorder("<"), int(ends[stop - 1]) - begin)
                digest.update(ids.data)
                yield ids, sizes[first:stop]
                first, begin = stop, int(ends[stop - 1])
        lengths.seek(counts.num_tokens * dtype.itemsize)
        for start in range(0, counts.num_documents, _BLOCK_DOCUMENTS):
            digest.update(np.fromfile(lengths, "<i4", min(_BLOCK_DOCUMENTS, counts.num_documents - start)).data)
    if remaining or digest.intdigest() != checksum:
        raise DamagedPart(path)


def _read_footer(path: Path, dtype: np.dtype[Any]) -> tuple[PartCounts, int]:
    size = path.stat().st_size
    if size < _FOOTER.size:
        raise DamagedPart(path)
    with path.open("rb") as handle:
        handle.seek(-_FOOTER.size, os.SEEK_END)
        num_tokens, num_documents, num_empty, text_bytes, checksum, magic = _FOOTER.unpack(handle.read())
    if magic != _MAGIC or size != num_tokens * dtype.itemsize + 4 * num_documents + _FOOTER.size:
        raise DamagedPart(path)
    counts = PartCounts(num_tokens=num_tokens, num_documents=num_documents, num_empty=num_empty, text_bytes=text_bytes)
    return counts, checksum
