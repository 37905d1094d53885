from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from megatron_codex.corpus import shards
from megatron_codex.corpus.shards import Row, ShardWriter, read_documents
from megatron_codex.errors import InputError


def row(number: int, size: int = 100) -> Row:
    content = str(number) * size
    return {
        "content": content, "path": f"{number}.py", "repository": "r", "licence": "", "source": "s",
        "size_bytes": len(content), "hash": f"{number:032x}",
    }  # fmt: skip


def test_documents_come_back_with_the_columns_of_the_format(tmp_path: Path) -> None:
    rows = [row(1), {**row(2), "content": "é\0\r\n"}]
    with ShardWriter(tmp_path, shard_bytes=10**6) as writer:
        for document in rows:
            writer.add(document)
    (path,) = writer.paths
    assert path.name == "shard-00000.parquet"
    columns = ["content", "path", "repository", "licence", "source", "size_bytes", "hash"]
    assert pq.read_schema(path).names == columns
    assert list(read_documents(path)) == rows


@pytest.mark.parametrize(("shard_bytes", "counts"), [(250, [2, 2, 1]), (200, [2, 2, 1]), (199, [1] * 5), (1, [1] * 5)])
def test_a_shard_ends_before_it_grows_too_large(tmp_path: Path, shard_bytes: int, counts: list[int]) -> None:
    with ShardWriter(tmp_path, shard_bytes=shard_bytes) as writer:
        for number in range(5):
            writer.add(row(number))
    assert [path.name for path in writer.paths] == [f"shard-{number:05}.parquet" for number in range(len(counts))]
    assert [pq.read_metadata(path).num_rows for path in writer.paths] == counts
    assert [item["path"] for path in writer.paths for item in read_documents(path)] == [f"{n}.py" for n in range(5)]


def test_text_is_written_a_row_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_ROW_GROUP_BYTES", 250)
    with ShardWriter(tmp_path, shard_bytes=10**6) as writer:
        for number in range(7):
            writer.add(row(number))
    metadata = pq.read_metadata(writer.paths[0])
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [3, 3, 1]


def test_an_unfinished_shard_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, shard_bytes=150) as writer:
        writer.add(row(0))
        writer.add(row(1))
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.parquet"]


def test_a_file_that_is_no_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"a\.parquet: not readable as Parquet"):
        list(read_documents(tmp_path / "a.parquet"))
