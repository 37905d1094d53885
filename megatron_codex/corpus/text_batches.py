"""The texts of a table in batches, as the encoder takes them: bytes end to end, and where each document begins.

In: some row groups of a Parquet file, or a range of bytes of a JSON Lines file. Out: TextBatches, in order, with no
Python object for a document of a Parquet file: Arrow's own buffers are handed on.

Memory: about _BATCH_BYTES of text, or one document if that is longer. Rows are taken for as long as the mean of their
row group; of a row group with a few huge documents a batch may hold more, at most the row group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from megatron_codex.corpus.tables import open_parquet
from megatron_codex.errors import InputError

_BATCH_BYTES = 8_000_000
_READ_BYTES = 1 << 20
_MAX_BATCH_ROWS = 1 << 16

SHARD_TEXT = "content"


@dataclass(frozen=True, kw_only=True)
class TextBatch:
    """Some documents: the i-th is data[offsets[i]:offsets[i + 1]]."""

    data: bytes | memoryview
    offsets: NDArray[np.int64]
    """[num_documents + 1]; the first need not be 0."""
    is_utf8: bool
    """All documents are known to be."""


def text_column(path: Path, file: pq.ParquetFile, key: str) -> str:
    """The column with the text: `key`, in shards of the corpus `content`.

    Raises: InputError when the file has rows but neither column, or the column holds no text.
    """
    names = file.schema_arrow.names
    column = key if key in names else SHARD_TEXT
    if file.metadata.num_rows:
        if column not in names:
            raise no_text(f"{path}:1", column, names)
        kind = file.schema_arrow.field(column).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise no_text(f"{path}:1", column, [column])
    return column


def parquet_batches(path: Path, row_groups: range, key: str) -> Iterator[TextBatch]:
    """The texts of some row groups. Raises: InputError naming file and row (from 1) of a row without text."""
    with open_parquet(path, buffer_size=_READ_BYTES) as file:
        column = text_column(path, file, key)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        row = 1 + sum(group.num_rows for group in groups[: row_groups.start])
        for number in row_groups:
            num_rows, num_bytes = groups[number].num_rows, text_bytes(groups[number], column)
            rows = min(_MAX_BATCH_ROWS, max(1, _BATCH_BYTES * num_rows // max(1, num_bytes)))
            for batch in file.iter_batches(rows, row_groups=[number], columns=[column], use_threads=False):
                yield array_batch(batch.column(0), where=(path, row, column))
                row += len(batch)


def text_bytes(group: pq.RowGroupMetaData, column: str) -> int:
    """Bytes of a column in a row group, uncompressed."""
    columns = (group.column(index) for index in range(group.num_columns))
    return int(sum(item.total_uncompressed_size for item in columns if item.path_in_schema == column))


def array_batch(array: pa.Array, *, where: tuple[Path, int, str]) -> TextBatch:
    """An Arrow array of strings, of any width, sliced or not, as a batch that shares its memory.

    where: file, row number of the first element, column; for errors.
    Raises: InputError for an element that is null or not UTF-8.
    """
    path, row, column = where
    if array.null_count:
        first = int(array.is_null().to_numpy(zero_copy_only=False).argmax())
        raise no_text(f"{path}:{row + first}", column, [column])
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        array = array.cast(pa.large_string())
    try:
        array.validate(full=True)  # a Parquet file's strings are read unchecked
    except pa.ArrowInvalid as error:
        rule = f"{column!r} is not readable as text ({str(error).splitlines()[0]})"
        remedy = f"counted from row {row}: write these rows again from their source"
        raise InputError(str(path), rule=rule, remedy=remedy) from error
    _, positions, characters = array.buffers()
    width = np.dtype(np.int32 if pa.types.is_string(array.type) else np.int64)
    if positions is None or len(array) == 0:
        offsets = np.zeros(len(array) + 1, np.int64)
    else:
        offsets = np.frombuffer(positions, width, len(array) + 1, array.offset * width.itemsize).astype(np.int64)
    return TextBatch(data=b"" if characters is None else memoryview(characters), offsets=offsets, is_utf8=True)


def no_text(where: str, key: str, fields: list[str]) -> InputError:
    """The error for a row that has no text under `key`; fields: those that it has."""
    found = f"{key!r} holds no text" if key in fields else f"has the fields {', '.join(fields) or 'none'}"
    remedy = "name the field that holds the text with --json-key"
    return InputError(where, rule=f"needs a text under {key!r}; {found}", remedy=remedy)
