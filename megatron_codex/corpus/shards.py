"""Shards: Parquet files of documents (columns: SCHEMA), the form in which the corpus rests. docs/formats.md.

Equal documents in equal order give equal bytes. Memory: one row group of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from megatron_codex.corpus.tables import read_parquet
from megatron_codex.files import atomic_file

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("content", pa.string()),
        ("path", pa.string()),
        ("repository", pa.string()),
        ("licence", pa.string()),
        ("source", pa.string()),
        ("size_bytes", pa.int64()),  # of the file as it was read
        ("hash", pa.string()),  # XXH3-128 of the content in UTF-8, hexadecimal
    ]
)

_ROW_GROUP_BYTES = 16_000_000


class DocumentWriter:
    """Append documents to one open Parquet file. A context manager: the file is whole when it is left without error."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.content_bytes = 0
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._file = pq.ParquetWriter(handle, SCHEMA, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_row_group()
        # Closed in any case: left open, pyarrow would write to the handle when the object is collected.
        self._file.close()

    def add(self, row: Row) -> None:
        """Append one document, a dict with SCHEMA's columns."""
        # size_bytes is the file's own size; the text's differs where the file was not UTF-8, never by much.
        self._pending.append(row)
        self._pending_bytes += row["size_bytes"]
        self.content_bytes += row["size_bytes"]
        if self._pending_bytes >= _ROW_GROUP_BYTES:
            self._write_row_group()

    def _write_row_group(self) -> None:
        if self._pending:
            self._file.write_table(pa.Table.from_pylist(self._pending, SCHEMA))
            self._pending, self._pending_bytes = [], 0


class ShardWriter:
    """Documents to DIRECTORY/shard-00000.parquet, shard-00001.parquet, ... of about shard_bytes of text each."""

    def __init__(self, directory: Path, *, shard_bytes: int) -> None:
        self.paths: list[Path] = []
        self._directory = directory
        self._shard_bytes = shard_bytes
        self._open_shard = ExitStack()
        self._writer: DocumentWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open_shard.__exit__(kind, error, traceback)

    def add(self, row: Row) -> None:
        """Append one document; a shard that would grow beyond shard_bytes is closed before it."""
        writer = self._writer
        if writer is None or writer.content_bytes + row["size_bytes"] > self._shard_bytes:
            self._open_shard.close()
            path = self._directory / f"shard-{len(self.paths):05}.parquet"
            self.paths.append(path)
            handle = self._open_shard.enter_context(atomic_file(path))
            writer = self._writer = self._open_shard.enter_context(DocumentWriter(handle))
        writer.add(row)


def read_documents(path: Path) -> Iterator[Row]:
    """The rows of one shard, in order. Raises: InputError naming a file that is not whole Parquet."""
    for _, row in read_parquet(path, tuple(SCHEMA.names)):
        yield row
