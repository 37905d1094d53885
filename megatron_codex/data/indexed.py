"""Megatron's indexed dataset: PREFIX.bin (tokens) and PREFIX.idx (where each document lies), written and read.

In: token ids, a document or many at a time. Out: the two files, byte for byte what megatron-core's
IndexedDatasetBuilder writes (one sequence a document, no modes), and a reader of memory-mapped tokens that checks both
files before it believes them. Source: megatron/core/datasets/indexed_dataset.py of megatron-core 0.16.1; the format is
spelled out in docs/formats.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from megatron_codex.data.index_file import DTYPE_CODES, HEADER, MAGIC, VERSION, IndexFile, check_size, read_index_arrays
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_absent, require_file
from megatron_codex.unfinished import partial_path

MAX_DOCUMENT_TOKENS = 2**31 - 1
"""Lengths are int32."""

_BLOCK = 1 << 20

_HASHED_BLOCKS = 64
_HASHED_BLOCK_BYTES = 1 << 20


def bin_path(prefix: Path | str) -> Path:
    """PREFIX.bin."""
    return Path(f"{prefix}.bin")


def idx_path(prefix: Path | str) -> Path:
    """PREFIX.idx."""
    return Path(f"{prefix}.idx")


def manifest_path(prefix: Path | str) -> Path:
    """PREFIX.manifest.json."""
    return Path(f"{prefix}.manifest.json")


def dataset_files(prefix: Path | str) -> tuple[Path, Path, Path]:
    """All files of a dataset in the order in which they are put in place: a reader that finds the .idx finds all."""
    return bin_path(prefix), manifest_path(prefix), idx_path(prefix)


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
        self._idx.write(bytes(HEADER.size))

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
        self._idx.write(HEADER.pack(MAGIC, VERSION, self._code, len(self), len(self) + 1))
        self._open_files.close()

    def _abort(self) -> None:
        """Remove the temporary files: atomic_file keeps nothing when its block raises."""
        self._open_files.__exit__(InterruptedError, InterruptedError(), None)


def write_joined_index(handle: IO[bytes], prefixes: Sequence[Path | str]) -> None:
    """Write the .idx of several datasets' tokens one after the other, to a file opened for it, block by block.

    The datasets have one token type, and all have modes or none has. One is open at a time, however many there are.
    """
    paths = [idx_path(prefix) for prefix in prefixes]
    shapes = [(len(part.sizes), len(part.documents) - 1) for part in map(read_index_arrays, paths)]
    num_sequences, num_documents = (sum(counts) for counts in zip(*shapes, strict=True))
    dtype = read_index_arrays(paths[0]).dtype
    code = next(code for code, kind in DTYPE_CODES.items() if kind == dtype)
    handle.write(HEADER.pack(MAGIC, VERSION, code, num_sequences, num_documents + 1))
    for part in map(read_index_arrays, paths):
        _write_blocks(handle, part.sizes)
    _write_pointers(handle, num_sequences, dtype.itemsize)
    handle.write(struct.pack("<q", 0))
    before = 0
    for part in map(read_index_arrays, paths):
        _write_blocks(handle, part.documents[1:], added=before)
        before += len(part.sizes)
    for part in map(read_index_arrays, paths):
        if part.modes is not None:
            _write_blocks(handle, part.modes)


def _write_blocks(handle: IO[bytes], values: NDArray[np.integer[Any]], *, added: int = 0) -> None:
    for start in range(0, len(values), _BLOCK):
        handle.write(np.ascontiguousarray(values[start : start + _BLOCK] + values.dtype.type(added)).data)


def _write_pointers(handle: IO[bytes], num_sequences: int, itemsize: int) -> None:
    """Append each sequence's place in bytes, from the lengths that were written after the header."""
    handle.flush()
    with Path(handle.name).open("rb") as written:
        written.seek(HEADER.size)
        pointer = 0
        for start in range(0, num_sequences, _BLOCK):
            sizes = np.fromfile(written, "<i4", min(_BLOCK, num_sequences - start)).astype(np.int64) * itemsize
            ends = np.cumsum(sizes) + pointer
            handle.write((ends - sizes).astype("<i8", copy=False).data)
            pointer = int(ends[-1])


def _require_finished(prefix: Path | str) -> None:
    """Raise InputError for a .bin without its .idx, which is put in place last: its maker was stopped in between."""
    if bin_path(prefix).is_file() and not idx_path(prefix).exists():
        rule = f"is not finished: {bin_path(prefix).name} is there without {idx_path(prefix).name}"
        remedy = "run the command that makes it again, with the same arguments; it puts the rest in place"
        if not partial_path(Path(prefix)).is_dir():
            remedy = f"nothing is left to finish it from: remove {bin_path(prefix)} and make the dataset again"
        raise InputError(str(prefix), rule=rule, remedy=remedy)


class IndexedDataset:
    """The documents of PREFIX.bin, memory-mapped: `len()`, `sizes` in tokens, `document(i)`, `slice(i, start, stop)`;
    and all their tokens as one text: `tokens(start, stop)`, with `first_tokens` and `starts_between` for the borders.

    A document of several sequences (Megatron splits by sentence on request) is read as one. Opening reads the .idx
    once; memory does not grow with it.
    """

    def __init__(self, prefix: Path | str) -> None:
        """Raises: InputError naming the file when one is missing, truncated, damaged or of another format."""
        self.prefix = str(prefix)
        _require_finished(prefix)
        require_file(idx_path(prefix), "the index of an indexed dataset")
        require_file(bin_path(prefix), "the tokens of an indexed dataset")
        self._index = IndexFile(idx_path(prefix))
        self.dtype = self._index.dtype
        check_size(bin_path(prefix), {self.num_tokens * self.dtype.itemsize})
        # As a plain array: a slice of a memmap costs five times as much.
        self._tokens: NDArray[np.integer[Any]] = np.asarray(
            np.memmap(bin_path(prefix), self.dtype.newbyteorder("<"), "r", shape=(self.num_tokens,))
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.prefix,)

    def __len__(self) -> int:
        """Number of documents."""
        return self._index.num_documents

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents."""
        return self._index.num_tokens

    @property
    def sizes(self) -> NDArray[np.int32] | NDArray[np.int64]:
        """Tokens of each document, [len(self)]; where documents have several sequences, computed at each call."""
        return self._index.sizes

    def document(self, index: int) -> NDArray[np.integer[Any]]:
        """A document's token ids, [sizes[index]], as a read-only view of the file."""
        return self.tokens(*self._index.extent(index))

    def slice(self, index: int, start: int, stop: int) -> NDArray[np.integer[Any]]:
        """Tokens start..stop of a document, [stop - start], as a read-only view of the file."""
        first, last = self._index.extent(index)
        assert 0 <= start <= stop <= last - first, f"document {index} has no tokens {start}..{stop}"
        return self.tokens(first + start, first + stop)

    def tokens(self, start: int, stop: int) -> NDArray[np.integer[Any]]:
        """Tokens start..stop of the whole file, [stop - start], whatever their documents, as a read-only view."""
        return self._tokens[start:stop]

    def first_tokens(self, documents: Sequence[int]) -> list[int]:
        """Where each of `documents` begins, counted in tokens of the whole file; document len(self) is its end."""
        return self._index.first_tokens(documents)

    def starts_between(self, start: int, stop: int) -> list[int]:
        """Tokens after `start` and before `stop` with which a document that is not empty begins, ascending."""
        return self._index.starts_between(start, stop)

    def fingerprint(self) -> str:
        """Hash of every document's place and of the .bin: of all of it up to 64 MiB, else of 64 blocks of 1 MiB
        spread evenly over it.

        Reading every token would cost minutes a terabyte at each start; larger data sets of equal sizes that differ
        between those blocks only are not told apart. XXH3, 128 bits: it finds accidents, not forgeries.
        """
        digest = xxhash.xxh3_128(self._index.digest.encode())
        size = self.num_tokens * self.dtype.itemsize
        last = max(0, size - _HASHED_BLOCK_BYTES)
        whole = size <= _HASHED_BLOCKS * _HASHED_BLOCK_BYTES
        starts = range(0, size, _HASHED_BLOCK_BYTES) if whole else np.linspace(0, last, _HASHED_BLOCKS, dtype=np.int64)
        with bin_path(self.prefix).open("rb") as handle:
            for start in starts:
                handle.seek(int(start))
                digest.update(handle.read(_HASHED_BLOCK_BYTES))
        return digest.hexdigest()
