from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_codex.corpus import text_batches
from megatron_codex.corpus.text_batches import TextBatch, array_batch, parquet_batches
from megatron_codex.errors import InputError

TEXTS = ["def f(x):\n", "", "é中\r\n", "x" * 100, "", "last"]
WHERE = (Path("a.parquet"), 7, "content")


def documents(batch: TextBatch) -> list[str]:
    ends = batch.offsets.tolist()
    return [bytes(batch.data[start:end]).decode() for start, end in pairwise(ends)]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=["string", "large", "view", "dictionary"],
)
@pytest.mark.parametrize("part", [slice(0, 6), slice(2, 5), slice(4, 4), slice(1, 2)], ids=str)
def test_an_array_s_own_memory_is_the_batch(kind: Any, part: slice) -> None:
    array = pa.array(TEXTS).cast(kind)[part]
    batch = array_batch(array, where=WHERE)
    assert documents(batch) == TEXTS[part]
    assert batch.offsets.dtype == "int64"
    assert len(batch.offsets) == len(array) + 1


@pytest.mark.parametrize("array", [pa.array([], pa.string()), pa.array(["", ""])], ids=["no-rows", "no-characters"])
def test_an_array_without_characters_is_read(array: Any) -> None:
    assert documents(array_batch(array, where=WHERE)) == array.to_pylist()


def test_a_null_is_named_by_its_row() -> None:
    array = pa.array(["a", "b", None, None])[1:]
    with pytest.raises(InputError, match=r"a\.parquet:8: needs a text under 'content'; 'content' holds no text"):
        array_batch(array, where=WHERE)


def test_bytes_that_are_no_text_are_refused() -> None:
    array = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    with pytest.raises(InputError, match=r"a\.parquet: 'content' is not readable as text .*row 7"):
        array_batch(array, where=WHERE)


@pytest.mark.parametrize("batch_bytes", [1, 50, 8_000_000])
def test_row_groups_are_read_in_order_and_rows_counted_through_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    monkeypatch.setattr(text_batches, "_BATCH_BYTES", batch_bytes)
    path = tmp_path / "a.parquet"
    table = pa.table({"other": [1] * 12, "content": pa.chunked_array([TEXTS, TEXTS])})
    pq.write_table(table, path, row_group_size=5)
    read = [text for batch in parquet_batches(path, range(3), "text") for text in documents(batch)]
    assert read == TEXTS * 2
    assert [text for batch in parquet_batches(path, range(1, 2), "text") for text in documents(batch)] == read[5:10]
    pq.write_table(pa.table({"content": [*TEXTS, None]}), path, row_group_size=5)
    with pytest.raises(InputError, match=r"a\.parquet:7: .*holds no text"):
        list(parquet_batches(path, range(1, 2), "text"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param({"body": ["x"], "more": ["y"]}, "has the fields body, more", id="no-column"),
        pytest.param({"content": [1]}, "'content' holds no text", id="numbers"),
        pytest.param({"content": [b"x"]}, "'content' holds no text", id="bytes"),
        pytest.param({"content": pa.nulls(1)}, "'content' holds no text", id="nulls"),
    ],
)
def test_a_table_without_text_is_named(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=rf"a\.parquet:1: needs a text under 'content'; {message}"):
        list(parquet_batches(tmp_path / "a.parquet", range(1), "text"))
