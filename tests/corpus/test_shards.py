from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from megatron_codex.corpus import shards
from megatron_codex.corpus.shards import SCHEMA, Row, TableWriter, read_documents, read_tables
from megatron_codex.errors import InputError


def row(number: int, size: int = 100) -> Row:
    content = str(number) * size
    return {
        "content": content, "path": f"{number}.py", "repository": "r", "licence": "", "language": "Python",
        "source": "s", "size_bytes": len(content), "hash": f"{number:032x}",
    }  # fmt: skip


def write(path: Path, *pieces: list[Row]) -> None:
    with TableWriter(path, SCHEMA) as writer:
        for rows in pieces:
            writer.add(pa.Table.from_pylist(rows, SCHEMA), np.array([item["size_bytes"] for item in rows], np.int64))


def test_documents_come_back_with_the_columns_of_the_format(tmp_path: Path) -> None:
    rows = [row(1), {**row(2), "content": "é\0\r\n"}]
    write(tmp_path / "a.parquet", rows)
    columns = ["content", "path", "repository", "licence", "language", "source", "size_bytes", "hash"]
    assert pq.read_schema(tmp_path / "a.parquet").names == columns
    assert list(read_documents(tmp_path / "a.parquet")) == rows


def test_bytes_and_row_groups_do_not_depend_on_the_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_ROW_GROUP_BYTES", 250)
    rows = [row(number) for number in range(7)]
    write(tmp_path / "a.parquet", rows)
    write(tmp_path / "b.parquet", rows[:1], [], rows[1:5], rows[5:])
    assert [len(table) for table in read_tables(tmp_path / "a.parquet")] == [3, 3, 1]
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_a_file_without_rows_is_made_on_request_only(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet")
    with TableWriter(tmp_path / "b.parquet", SCHEMA, keep_empty=True):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["b.parquet"]
    assert pq.read_metadata(tmp_path / "b.parquet").num_rows == 0


def test_an_unfinished_file_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_ROW_GROUP_BYTES", 150)
    with pytest.raises(RuntimeError), TableWriter(tmp_path / "a.parquet", SCHEMA) as writer:
        writer.add(pa.Table.from_pylist([row(0), row(1), row(2)], SCHEMA), np.full(3, 100))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: not readable as Parquet"):
        list(read_documents(tmp_path / "a.parquet"))
