"""Megatron's indexed dataset: PREFIX.bin (tokens) and PREFIX.idx (where each document lies), written and read.

In: token ids, a document or many at a time. Out: the two files, byte for byte what megatron-core's
IndexedDatasetBuilder writes (one sequence a document, no modes), and a reader of memory-mapped documents that checks
both files before it believes them. Source: megatron/core/datasets/indexed_dataset.py of megatron-core 0.16.1; the
format is spelled out in docs/formats.md.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_absent, require_file

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE_CODES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
"""Megatron's codes of token types; its float types 6 and 7 hold no tokens."""
MAX_DOCUMENT_TOKENS = 2**31 - 1
"""Lengths are int32."""

_HEADER = struct.Struct("<9sQBQQ")  # magic, version, dtype code, sequences, documents + 1
_BLOCK = 1 << 20

_FINGERPRINT_BLOCKS = 64
_FINGERPRINT_BLOCK_BYTES = 4096


def bin_path(prefix: Path | str) -> Path:
    """PREFIX.bin."""
    return Path(f"{prefix}.bin")


def idx_path(prefix: Path | str) -> Path:
    """PREFIX.idx."""
    return Path(f"{prefix}.idx")


class IndexedDatasetWriter:
    """Write documents one after the other; both files appear when `finalize` returns, the .idx last.

    A context manager: leaving it without `finalize` removes what was written. Memory: a block of 12 MB at most, however
    many documents there are; their lengths go to the .idx at once, the rest of it is made from them in `finalize`.
    """

    def __init__(self, prefix: Path | str, dtype: np.dtype[Any] | type[np.integer[Any]]) -> None:
        """dtype: of the tokens; uint16 when the vocabulary fits. Raises: InputError when an output file exists."""
        self.prefix = str(prefix)
        self.dtype = np.dtype(dtype)
        self._code = next(code for code, kind in DTYPE_CODES.items() if kind == self.dtype)
        self._num_documents = 0
        self.num_tokens = 0
        require_absent(bin_path(prefix))
        require_absent(idx_path(prefix))
        self._open_files = ExitStack()
        # Closed in the reverse order, so the .idx is renamed last: a reader that finds it finds a whole .bin.
        self._idx = self._open_files.enter_context(atomic_file(idx_path(prefix)))
        self._bin = self._open_files.enter_context(atomic_file(bin_path(prefix)))
        self._idx.write(bytes(_HEADER.size))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._bin.closed:
            self._abort()

    def __len__(self) -> int:
        """Number of documents added."""
        return self._num_documents

    def add_document(self, ids: NDArray[np.integer[Any]]) -> None:
        """Append one document's token ids, [num_tokens], of any integer type.

        Raises: InputError when an id does not fit the file's type or the document is too long for the format.
        """
        self.add_documents(ids, np.array([len(ids)], np.int64))

    def add_documents(self, ids: NDArray[np.integer[Any]], sizes: NDArray[np.integer[Any]]) -> None:
        """Append several documents: their token ids, [num_tokens], end to end, and each one's number of them.

        Raises: InputError as add_document, of the first document that is at fault; then none of them is added.
        """
        if len(sizes) == 0:
            return
        assert int(sizes.min()) >= 0 and int(sizes.sum(dtype=np.int64)) == len(ids), "sizes must cover the ids"
        if int(sizes.max()) > MAX_DOCUMENT_TOKENS:
            first = int((sizes > MAX_DOCUMENT_TOKENS).argmax())
            rule = f"the format holds at most {MAX_DOCUMENT_TOKENS} tokens a document"
            raise InputError(f"document {len(self) + first}", value=int(sizes[first]), rule=rule, remedy="split it")
        stored = np.asarray(ids).astype(self.dtype, copy=False)
        if stored.dtype != ids.dtype and not np.array_equal(stored, ids):
            position = int((stored != ids).argmax())
            first = int(np.searchsorted(np.cumsum(sizes), position, side="right"))
            raise InputError(
                f"document {len(self) + first}",
                value=int(ids[position]),
                rule=f"token ids must fit {self.dtype}",
                remedy="write this vocabulary with a wider type",
            )
        self._bin.write(np.ascontiguousarray(stored, self.dtype.newbyteorder("<")).data)
        self._idx.write(sizes.astype("<i4").data)
        self._num_documents += len(sizes)
        self.num_tokens += len(ids)

    def finalize(self) -> None:
        """Put both files in their place. Raises: InputError when no document was added."""
        if not self.num_tokens:
            self._abort()
            raise InputError(self.prefix, rule="no tokens were added", remedy="give input that has documents")
        _write_pointers(self._idx, len(self), self.dtype.itemsize)
        for start in range(0, len(self) + 1, _BLOCK):
            self._idx.write(np.arange(start, min(start + _BLOCK, len(self) + 1), dtype="<i8").data)
        self._idx.seek(0)
        self._idx.write(_HEADER.pack(MAGIC, VERSION, self._code, len(self), len(self) + 1))
        self._open_files.close()

    def _abort(self) -> None:
        """Remove the temporary files: atomic_file keeps nothing when its block raises."""
        self._open_files.__exit__(InterruptedError, InterruptedError(), None)


def write_joined_index(handle: IO[bytes], prefixes: Sequence[Path | str]) -> None:
    """Write the .idx of several datasets' tokens one after the other, to a file opened for it, block by block.

    The datasets have one token type, and all have modes or none has. One is open at a time, however many there are.
    """
    shapes = [(len(part.sizes), len(part.documents) - 1) for part in map(read_index_arrays, prefixes)]
    num_sequences, num_documents = (sum(counts) for counts in zip(*shapes, strict=True))
    dtype = read_index_arrays(prefixes[0]).dtype
    code = next(code for code, kind in DTYPE_CODES.items() if kind == dtype)
    handle.write(_HEADER.pack(MAGIC, VERSION, code, num_sequences, num_documents + 1))
    for part in map(read_index_arrays, prefixes):
        _write_blocks(handle, part.sizes)
    _write_pointers(handle, num_sequences, dtype.itemsize)
    handle.write(struct.pack("<q", 0))
    before = 0
    for part in map(read_index_arrays, prefixes):
        _write_blocks(handle, part.documents[1:], added=before)
        before += len(part.sizes)
    for part in map(read_index_arrays, prefixes):
        if part.modes is not None:
            _write_blocks(handle, part.modes)


def _write_blocks(handle: IO[bytes], values: NDArray[np.integer[Any]], *, added: int = 0) -> None:
    for start in range(0, len(values), _BLOCK):
        handle.write(np.ascontiguousarray(values[start : start + _BLOCK] + values.dtype.type(added)).data)


def _write_pointers(handle: IO[bytes], num_sequences: int, itemsize: int) -> None:
    """Append each sequence's place in bytes, from the lengths that were written after the header."""
    handle.flush()
    with Path(handle.name).open("rb") as written:
        written.seek(_HEADER.size)
        pointer = 0
        for start in range(0, num_sequences, _BLOCK):
            sizes = np.fromfile(written, "<i4", min(_BLOCK, num_sequences - start)).astype(np.int64) * itemsize
            ends = np.cumsum(sizes) + pointer
            handle.write((ends - sizes).astype("<i8", copy=False).data)
            pointer = int(ends[-1])


class IndexedDataset:
    """The documents of PREFIX.bin, memory-mapped: `len()`, `sizes` in tokens, `document(i)`, `slice(i, start, stop)`.

    A document of several sequences (Megatron splits by sentence on request) is read as one.
    """

    def __init__(self, prefix: Path | str) -> None:
        """Raises: InputError naming the file when one is missing, truncated, damaged or of another format."""
        self.prefix = str(prefix)
        require_file(idx_path(prefix), "the index of an indexed dataset")
        require_file(bin_path(prefix), "the tokens of an indexed dataset")
        self.dtype, sequence_sizes, pointers, documents = _read_index(idx_path(prefix))
        _check_pointers(idx_path(prefix), sequence_sizes, pointers, documents, self.dtype.itemsize)
        num_tokens = (int(pointers[-1]) // self.dtype.itemsize + int(sequence_sizes[-1])) if len(pointers) else 0
        _check_size(bin_path(prefix), {num_tokens * self.dtype.itemsize})
        self._tokens = np.memmap(bin_path(prefix), self.dtype.newbyteorder("<"), "r", shape=(num_tokens,))
        if len(documents) == len(pointers) + 1:
            self.sizes: NDArray[np.int32] | NDArray[np.int64] = sequence_sizes
            self._starts = pointers // self.dtype.itemsize
        else:
            ends = np.append(pointers // self.dtype.itemsize, num_tokens)
            self._starts = ends[documents[:-1]]
            self.sizes = np.diff(ends[documents])

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.prefix,)

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.sizes)

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents."""
        return len(self._tokens)

    def document(self, index: int) -> NDArray[np.integer[Any]]:
        """A document's token ids, [sizes[index]], as a read-only view of the file."""
        return self.slice(index, 0, int(self.sizes[index]))

    def slice(self, index: int, start: int, stop: int) -> NDArray[np.integer[Any]]:
        """Tokens start..stop of a document, [stop - start], as a read-only view of the file."""
        assert 0 <= start <= stop <= self.sizes[index], f"document {index} has no tokens {start}..{stop}"
        first = int(self._starts[index])
        return self._tokens[first + start : first + stop]

    def fingerprint(self) -> str:
        """Hash of the whole .idx, the .bin's size and 64 blocks of 4 KiB spread evenly over it.

        Reading every token would cost minutes a terabyte at each start; documents of equal sizes that differ between
        those blocks only are not told apart.
        """
        digest = hashlib.sha256()
        with idx_path(self.prefix).open("rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
        size = bin_path(self.prefix).stat().st_size
        digest.update(struct.pack("<Q", size))
        with bin_path(self.prefix).open("rb") as handle:
            for position in np.linspace(
                0, max(0, size - _FINGERPRINT_BLOCK_BYTES), _FINGERPRINT_BLOCKS, dtype=np.int64
            ):
                handle.seek(int(position))
                digest.update(handle.read(_FINGERPRINT_BLOCK_BYTES))
        return digest.hexdigest()


_Index = tuple[np.dtype[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]


def _read_index(path: Path) -> _Index:
    """Token type, sequence sizes, byte pointers, document boundaries (in sequences) of an .idx file."""
    with path.open("rb") as handle:
        header = handle.read(_HEADER.size)
    if header[: len(MAGIC)] != MAGIC:
        raise InputError(str(path), value=header[: len(MAGIC)], rule=f"must begin with {MAGIC!r}", remedy=_REWRITE)
    if len(header) < _HEADER.size:
        _check_size(path, {_HEADER.size})
    _, version, code, num_sequences, num_boundaries = _HEADER.unpack(header)
    if version != VERSION:
        raise InputError(str(path), value=version, rule=f"must be of version {VERSION}", remedy=_REWRITE)
    if code not in DTYPE_CODES:
        rule = f"the token type's code must be one of {', '.join(map(str, DTYPE_CODES))}"
        raise InputError(str(path), value=code, rule=rule, remedy=_REWRITE)
    without_modes = _HEADER.size + 12 * num_sequences + 8 * num_boundaries
    _check_size(path, {without_modes, without_modes + num_sequences})
    content = np.memmap(path, np.uint8, "r", offset=_HEADER.size)
    sizes_bytes, pointers_bytes, boundaries_bytes = 4 * num_sequences, 8 * num_sequences, 8 * num_boundaries
    sizes, pointers, boundaries = np.split(
        content[: sizes_bytes + pointers_bytes + boundaries_bytes], [sizes_bytes, sizes_bytes + pointers_bytes]
    )
    return np.dtype(DTYPE_CODES[code]), sizes.view("<i4"), pointers.view("<i8"), boundaries.view("<i8")


def _check_size(path: Path, allowed: set[int]) -> None:
    found = path.stat().st_size
    if found not in allowed:
        expected = " or ".join(map(str, sorted(allowed)))
        rule = f"the file is truncated or damaged: {found} bytes found, {expected} expected"
        raise InputError(str(path), rule=rule, remedy=_REWRITE)


def _check_pointers(
    path: Path, sizes: NDArray[np.int32], pointers: NDArray[np.int64], documents: NDArray[np.int64], itemsize: int
) -> None:
    """Sequences must lie one after the other, and documents must cover them in order."""
    expected = 0
    for start in range(0, len(sizes), _BLOCK):
        block = sizes[start : start + _BLOCK].astype(np.int64) * itemsize
        ends = expected + np.cumsum(block)
        if block.min() < 0 or not np.array_equal(pointers[start : start + _BLOCK], ends - block):
            raise InputError(str(path), rule="damaged: its pointers and sizes disagree", remedy=_REWRITE)
        expected = int(ends[-1])
    covered = len(documents) > 0 and documents[0] == 0 and documents[-1] == len(sizes)
    if not covered or (np.diff(documents) < 0).any():
        raise InputError(str(path), rule="damaged: its documents do not cover its sequences", remedy=_REWRITE)


_REWRITE = "write it again with tools/preprocess_data.py"


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


def read_index_arrays(prefix: Path | str) -> IndexArrays:
    """The arrays of PREFIX.idx, not checked against each other: IndexedDataset(prefix) does that.

    Raises: InputError for a file that is truncated or of another format.
    """
    dtype, sizes, pointers, documents = _read_index(idx_path(prefix))
    without_modes = _HEADER.size + 12 * len(pointers) + 8 * len(documents)
    has_modes = idx_path(prefix).stat().st_size > without_modes
    modes = np.memmap(idx_path(prefix), np.int8, "r", offset=without_modes) if has_modes else None
    return IndexArrays(dtype=dtype, sizes=sizes, documents=documents, modes=modes)
