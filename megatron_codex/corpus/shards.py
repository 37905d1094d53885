"""Shards: Parquet files of documents (columns: SCHEMA), the form in which the corpus rests. docs/formats.md.

Equal documents in equal order give equal bytes, in whatever pieces they come. Memory: one row group of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_codex.corpus.tables import read_parquet
from megatron_codex.files import atomic_file

Row = dict[str, Any]

_FILE = [
    ("path", pa.string()),
    ("repository", pa.string()),
    ("licence", pa.string()),
    ("language", pa.string()),
    ("source", pa.string()),
    ("size_bytes", pa.int64()),  # of the file as it was read
]
SCHEMA = pa.schema([("content", pa.string()), *_FILE, ("hash", pa.string())])  # XXH3-128 of the content, hexadecimal
REJECTS_SCHEMA = pa.schema([("reason", pa.string()), *_FILE, ("content", pa.binary())])  # nothing where it was not read

_ROW_GROUP_BYTES = 16_000_000
_REPETITIVE = ["repository", "licence", "language", "source", "reason"]


class TableWriter:
    """Append tables to one Parquet file, which appears whole when the context is left without error.

    A file without rows is not made, unless keep_empty says so.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, keep_empty: bool = False) -> None:
        self._path = path
        self._keep_empty = keep_empty
        self._schema = schema
        self._open = ExitStack()
        self._file: pq.ParquetWriter | None = None
        self._pending: list[pa.Table] = []
        self._pending_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_row_group()
        self._open.__exit__(kind, error, traceback)

    def add(self, table: pa.Table, sizes: NDArray[np.int64]) -> None:
        """Append rows. sizes: bytes of each, [number of rows], which decide where a row group ends."""
        begin = 0
        while begin < len(sizes):
            ends = self._pending_bytes + np.cumsum(sizes[begin:])
            count = int(np.searchsorted(ends, _ROW_GROUP_BYTES)) + 1  # with the row that fills the group
            rows = table.slice(begin, count)
            self._pending.append(rows)
            begin += len(rows)
            if count <= len(ends):
                self._write_row_group()
            else:
                self._pending_bytes = int(ends[-1])

    def _write_row_group(self) -> None:
        if not self._pending and (self._file is not None or not self._keep_empty):
            return
        if self._file is None:
            handle = self._open.enter_context(atomic_file(self._path))
            columns = [name for name in self._schema.names if name in _REPETITIVE]
            self._file = pq.ParquetWriter(handle, self._schema, compression="zstd", use_dictionary=columns)
            # In any case, and before the file: left open, pyarrow would write to it when the object is collected.
            self._open.callback(self._file.close)
        if self._pending:
            table = pa.concat_tables(self._pending).combine_chunks()
            self._file.write_table(table, row_group_size=len(table))
        self._pending, self._pending_bytes = [], 0


def read_tables(path: Path) -> Iterator[pa.Table]:
    """The row groups of a file written here, in order."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, use_threads=False)


def read_documents(path: Path) -> Iterator[Row]:
    """The rows of one shard, in order. Raises: InputError naming a file that is not whole Parquet."""
    for _, row in read_parquet(path, tuple(SCHEMA.names)):
        yield row
