"""Megatron's indexed dataset: PREFIX.bin (tokens) and PREFIX.idx (where each document lies), written and read.

In: token ids, a document at a time. Out: the two files, byte for byte what megatron-core's IndexedDatasetBuilder writes
(one sequence a document, no modes), and a reader of memory-mapped tokens that checks both files before it believes
them. Source: megatron/core/datasets/indexed_dataset.py of megatron-core 0.16.1; the format is spelled out in
docs/formats.md.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

from megatron_codex.data.index_file import DTYPE_CODES, HEADER, MAGIC, VERSION, IndexFile, check_size
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_absent, require_file

_MAX_DOCUMENT_TOKENS = 2**31 - 1  # sizes are int32

_HASHED_BLOCKS = 64
_HASHED_BLOCK_BYTES = 1 << 20


def bin_path(prefix: Path | str) -> Path:
    """PREFIX.bin."""
    return Path(f"{prefix}.bin")


def idx_path(prefix: Path | str) -> Path:
    """PREFIX.idx."""
    return Path(f"{prefix}.idx")


class IndexedDatasetWriter:
    """Write documents one after the other; both files appear when `finalize` returns, the .idx last.

    A context manager: leaving it without `finalize` removes what was written. Memory: 4 bytes a document, then 20 in
    `finalize`.
    """

    def __init__(self, prefix: Path | str, dtype: np.dtype[Any] | type[np.integer[Any]]) -> None:
        """dtype: of the tokens; uint16 when the vocabulary fits. Raises: InputError when an output file exists."""
        self.prefix = str(prefix)
        self.dtype = np.dtype(dtype)
        self._code = next(code for code, kind in DTYPE_CODES.items() if kind == self.dtype)
        self._sizes = array("i")
        self.num_tokens = 0
        require_absent(bin_path(prefix))
        require_absent(idx_path(prefix))
        self._open_files = ExitStack()
        self._bin = self._open_files.enter_context(atomic_file(bin_path(prefix)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._bin.closed:
            self._abort()

    def __len__(self) -> int:
        """Number of documents added."""
        return len(self._sizes)

    def add_document(self, ids: NDArray[np.integer[Any]]) -> None:
        """Append one document's token ids, [num_tokens], of any integer type.

        Raises: InputError when an id does not fit the file's type or the document is too long for the format.
        """
        if len(ids) > _MAX_DOCUMENT_TOKENS:
            rule = f"the format holds at most {_MAX_DOCUMENT_TOKENS} tokens a document"
            raise InputError(f"document {len(self)}", value=len(ids), rule=rule, remedy="split it")
        stored = np.asarray(ids).astype(self.dtype)
        if stored.dtype != ids.dtype and not np.array_equal(stored, ids):
            raise InputError(
                f"document {len(self)}",
                value=int(max(ids)),
                rule=f"token ids must fit {self.dtype}",
                remedy="write this vocabulary with a wider type",
            )
        self._bin.write(stored.astype(self.dtype.newbyteorder("<"), copy=False).tobytes())
        self._sizes.append(len(stored))
        self.num_tokens += len(stored)

    def finalize(self) -> None:
        """Put both files in their place. Raises: InputError when no document was added."""
        if not self.num_tokens:
            self._abort()
            raise InputError(self.prefix, rule="no tokens were added", remedy="give input that has documents")
        sizes = np.frombuffer(self._sizes, np.int32)
        pointers = np.zeros(len(sizes), np.int64)
        np.cumsum(sizes[:-1], out=pointers[1:])
        pointers *= self.dtype.itemsize
        # The .idx is renamed last, so a reader that finds it finds a whole .bin.
        with atomic_file(idx_path(self.prefix)) as handle:
            handle.write(HEADER.pack(MAGIC, VERSION, self._code, len(sizes), len(sizes) + 1))
            handle.write(sizes.astype("<i4", copy=False).tobytes())
            handle.write(pointers.astype("<i8", copy=False).tobytes())
            handle.write(np.arange(len(sizes) + 1, dtype="<i8").tobytes())
            self._open_files.close()

    def _abort(self) -> None:
        """Remove the temporary file: atomic_file keeps nothing when its block raises."""
        self._open_files.__exit__(InterruptedError, InterruptedError(), None)


class IndexedDataset:
    """The documents of PREFIX.bin, memory-mapped: `len()`, `sizes` in tokens, `document(i)`, `slice(i, start, stop)`;
    and all their tokens as one text: `tokens(start, stop)`, with `first_tokens` and `starts_between` for the borders.

    A document of several sequences (Megatron splits by sentence on request) is read as one. Opening reads the .idx
    once; memory does not grow with it.
    """

    def __init__(self, prefix: Path | str) -> None:
        """Raises: InputError naming the file when one is missing, truncated, damaged or of another format."""
        self.prefix = str(prefix)
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
