"""PREFIX.idx read: where each document lies, every entry checked, in one pass whose memory does not grow with the file.

In: an .idx file of megatron-core's format (docs/formats.md). Out: its token type and counts, a digest of what it says,
and the first tokens of the documents one asks for. Only what is asked for stays in memory: at 1e8 documents the file
has 2 GB.
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from megatron_codex.errors import InputError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
"""Megatron's codes of token types; its float types 6 and 7 hold no tokens."""
HEADER = struct.Struct("<9sQBQQ")  # magic, version, dtype code, sequences, documents + 1
REWRITE = "write it again with tools/preprocess_data.py"

_CHUNK = 1 << 15  # entries read at a time: 20 bytes each, so that all steps over a chunk find it in the core's cache


class IndexFile:
    """The content of an .idx file, checked; look-ups go to the file through the page cache."""

    def __init__(self, path: Path) -> None:
        """Raises: InputError naming the file when it is truncated, damaged or of another format."""
        self.path = path
        self.dtype, self.num_sequences, num_boundaries = _read_header(path)
        self.num_documents = num_boundaries - 1
        sizes_at = HEADER.size
        self._pointers_at = sizes_at + 4 * self.num_sequences
        self._boundaries_at = self._pointers_at + 8 * self.num_sequences
        content = np.asarray(np.memmap(path, np.uint8, "r"))
        self._sizes: NDArray[np.int32] = content[sizes_at : self._pointers_at].view("<i4")
        self._pointers: NDArray[np.int64] = content[self._pointers_at : self._boundaries_at].view("<i8")
        self._boundaries: NDArray[np.int64] = content[self._boundaries_at :][: 8 * num_boundaries].view("<i8")
        with path.open("rb", buffering=0) as handle:
            num_bytes, sizes_digest = self._check_sequences(handle.fileno())
            self._one_sequence_each, boundaries_digest = self._check_documents(handle.fileno())
        self.num_tokens = num_bytes // self.dtype.itemsize
        self.digest = f"{self.dtype.name} {sizes_digest} {boundaries_digest}"
        """What decides where each document lies, as xxHash's 128-bit XXH3: it finds accidents, not forgeries."""

    @property
    def sizes(self) -> NDArray[np.int32] | NDArray[np.int64]:
        """Tokens of each document, [num_documents]: a view of the file where a document is one sequence."""
        if self._one_sequence_each:
            return self._sizes
        ends = np.append(self._pointers // self.dtype.itemsize, self.num_tokens)
        return np.diff(ends[self._boundaries])

    def extent(self, document: int) -> tuple[int, int]:
        """First token of a document and the one after its last, counted in the whole .bin."""
        assert 0 <= document < self.num_documents, f"document {document} of {self.num_documents}"
        return self._first_token(document), self._first_token(document + 1)

    def first_tokens(self, documents: Sequence[int]) -> list[int]:
        """First token of each of `documents`, 0..num_documents (which has the end of all tokens).

        Read one by one from the file, not through a mapping: whole pages around each would count as this process's.
        """
        with self.path.open("rb", buffering=0) as handle:
            descriptor = handle.fileno()

            def entry(start: int, index: int) -> int:
                return int.from_bytes(_pread(descriptor, 8, start + 8 * index), "little", signed=True)

            tokens = []
            for document in documents:
                sequence = document if self._one_sequence_each else entry(self._boundaries_at, document)
                at_end = sequence == self.num_sequences
                tokens.append(self.num_tokens if at_end else entry(self._pointers_at, sequence) // self.dtype.itemsize)
            return tokens

    def starts_between(self, first: int, last: int) -> list[int]:
        """Tokens after `first` and before `last` with which a document that is not empty begins, ascending."""
        itemsize = self.dtype.itemsize
        if self._one_sequence_each:
            low = bisect_right(self._pointers, first * itemsize)
            high = bisect_left(self._pointers, last * itemsize, lo=low)
            starts = (self._pointers[low:high] // itemsize).tolist()
        else:
            numbers = range(self.num_documents)
            low = bisect_right(numbers, first, key=self._first_token)
            high = bisect_left(numbers, last, lo=low, key=self._first_token)
            starts = [self._first_token(number) for number in range(low, high)]
        return list(dict.fromkeys(starts))  # an empty document begins with the next one

    def _first_token(self, document: int) -> int:
        sequence = document if self._one_sequence_each else int(self._boundaries[document])
        at_end = sequence == self.num_sequences
        return self.num_tokens if at_end else int(self._pointers[sequence]) // self.dtype.itemsize

    def _check_sequences(self, descriptor: int) -> tuple[int, str]:
        """Sequences must lie one after the other. Bytes of all, and a hash of their sizes."""
        sizes, pointers, ends = np.empty(_CHUNK, "<i4"), np.empty(_CHUNK, "<i8"), np.empty(_CHUNK, np.int64)
        digest, end = xxhash.xxh3_128(), 0
        for start in range(0, self.num_sequences, _CHUNK):
            count = min(_CHUNK, self.num_sequences - start)
            _pread_into(descriptor, sizes[:count], HEADER.size + 4 * start, self.path)
            _pread_into(descriptor, pointers[:count], self._pointers_at + 8 * start, self.path)
            digest.update(sizes[:count].data)
            np.multiply(sizes[:count], self.dtype.itemsize, out=ends[:count], dtype=np.int64)
            np.add(ends[:count], pointers[:count], out=ends[:count])
            in_line = pointers[0] == end and np.array_equal(ends[: count - 1], pointers[1:count])
            if not in_line or sizes[:count].min() < 0:
                raise InputError(str(self.path), rule="damaged: its pointers and sizes disagree", remedy=REWRITE)
            end = int(ends[count - 1])
        return end, digest.hexdigest()

    def _check_documents(self, descriptor: int) -> tuple[bool, str]:
        """Documents must cover the sequences in order. Whether each has exactly one, and a hash of the boundaries."""
        boundaries = np.empty(_CHUNK + 1, "<i8")
        digest, covered, rising, last = xxhash.xxh3_128(), self.num_documents >= 0, True, 0
        for start in range(0, self.num_documents + 1, _CHUNK):
            count = min(_CHUNK, self.num_documents + 1 - start)
            found = boundaries[1 : count + 1]
            _pread_into(descriptor, found, self._boundaries_at + 8 * start, self.path)
            digest.update(found.data)
            boundaries[0] = last if start else -1
            rising = rising and bool((found > boundaries[:count]).all())
            covered = covered and (start > 0 or found[0] == 0) and (rising or bool((found >= boundaries[:count]).all()))
            last = int(found[-1])
        if not covered or last != self.num_sequences:
            raise InputError(str(self.path), rule="damaged: its documents do not cover its sequences", remedy=REWRITE)
        return rising and self.num_documents == self.num_sequences, digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class IndexArrays:
    """An .idx file's arrays as they lie in it, memory-mapped."""

    dtype: np.dtype[Any]
    """Of the tokens."""
    sizes: NDArray[np.int32]
    """Length of each sequence, in tokens."""
    documents: NDArray[np.int64]
    """Sequence with which each document begins, and their number at the end."""
    modes: NDArray[np.int8] | None
    """Of each sequence; None: the file has none."""


def read_index_arrays(path: Path) -> IndexArrays:
    """The arrays of an .idx file, not checked against each other: IndexFile does that.

    Raises: InputError for a file that is truncated or of another format.
    """
    dtype, num_sequences, num_boundaries = _read_header(path)
    content = np.memmap(path, np.uint8, "r")
    ends = np.cumsum([HEADER.size, 4 * num_sequences, 8 * num_sequences, 8 * num_boundaries]).tolist()
    return IndexArrays(
        dtype=dtype,
        sizes=content[ends[0] : ends[1]].view("<i4"),
        documents=content[ends[2] : ends[3]].view("<i8"),
        modes=content[ends[3] :].view(np.int8) if len(content) > ends[3] else None,
    )


def check_size(path: Path, allowed: set[int]) -> None:
    """Raise InputError when a file's size in bytes is none of `allowed`."""
    found = path.stat().st_size
    if found not in allowed:
        expected = " or ".join(map(str, sorted(allowed)))
        rule = f"the file is truncated or damaged: {found} bytes found, {expected} expected"
        raise InputError(str(path), rule=rule, remedy=REWRITE)


def _read_header(path: Path) -> tuple[np.dtype[Any], int, int]:
    """Token type, number of sequences, number of document boundaries; the file's size is what they ask for."""
    with path.open("rb") as handle:
        header = handle.read(HEADER.size)
    if header[: len(MAGIC)] != MAGIC:
        raise InputError(str(path), value=header[: len(MAGIC)], rule=f"must begin with {MAGIC!r}", remedy=REWRITE)
    if len(header) < HEADER.size:
        check_size(path, {HEADER.size})
    _, version, code, num_sequences, num_boundaries = HEADER.unpack(header)
    if version != VERSION:
        raise InputError(str(path), value=version, rule=f"must be of version {VERSION}", remedy=REWRITE)
    if code not in DTYPE_CODES:
        rule = f"the token type's code must be one of {', '.join(map(str, DTYPE_CODES))}"
        raise InputError(str(path), value=code, rule=rule, remedy=REWRITE)
    without_modes = HEADER.size + 12 * num_sequences + 8 * num_boundaries
    check_size(path, {without_modes, without_modes + num_sequences})
    return np.dtype(DTYPE_CODES[code]), num_sequences, num_boundaries


def _pread_into(descriptor: int, out: NDArray[Any], offset: int, path: Path) -> None:
    """Fill an array from a file, however few bytes a call gives."""
    view = out.data.cast("B")
    while len(view):
        count = os.preadv(descriptor, [view], offset)
        if count == 0:
            raise InputError(str(path), rule="the file became shorter while it was read", remedy=REWRITE)
        view, offset = view[count:], offset + count


def _pread(descriptor: int, count: int, offset: int) -> bytes:
    content = os.pread(descriptor, count, offset)
    assert len(content) == count, f"{len(content)} of {count} bytes at {offset}"
    return content
