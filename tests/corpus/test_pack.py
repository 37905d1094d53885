from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_codex.corpus.pack import CODES, Shard, plan_shards, write_shard
from megatron_codex.corpus.parts import PartList
from megatron_codex.corpus.shards import read_documents
from tests.corpus.test_duplicates import make_part


def parts_of(folder: Path, sizes: list[list[int]]) -> PartList:
    parts = [
        make_part(folder / f"part{number}", [str(number) * size for size in own], list(range(len(own))))
        for number, own in enumerate(sizes)
    ]
    for part, own in zip(parts, sizes, strict=True):
        facts = np.load(part.facts)
        facts["size_bytes"] = own
        np.save(part.facts, facts)
    return PartList.make(parts, folder)


def borders(shards: list[Shard]) -> list[int]:
    return [shards[0].begin, *(shard.end for shard in shards)]


@pytest.mark.parametrize(
    ("sizes", "dropped", "shard_bytes", "expected"),
    [
        ([[100] * 5], [], 250, [0, 2, 4, 5]),
        ([[100] * 5], [], 200, [0, 2, 4, 5]),
        ([[100] * 5], [], 199, [0, 1, 2, 3, 4, 5]),
        ([[100] * 5], [], 1, [0, 1, 2, 3, 4, 5]),
        ([[100, 100], [], [100], [100, 100]], [], 250, [0, 2, 4, 5]),
        ([[100, 100], [100], [100, 100]], [1], 250, [0, 3, 5]),
        ([[100], [900], [100]], [], 250, [0, 1, 2, 3]),
        ([[100, 100]], [0, 1], 50, [0, 2]),
    ],
)
def test_a_shard_ends_before_it_grows_too_large(
    tmp_path: Path, sizes: list[list[int]], dropped: list[int], shard_bytes: int, expected: list[int]
) -> None:
    parts = parts_of(tmp_path, sizes)
    codes = np.zeros(parts.num_documents, np.uint8)
    codes[dropped] = 1
    shards = plan_shards(parts, codes, tmp_path, shard_bytes=shard_bytes, keep_rejects=False)
    assert borders(shards) == expected
    assert [shard.path.name for shard in shards] == [f"shard-{number:05}.parquet" for number in range(len(shards))]


def test_a_shard_has_its_documents_and_the_rejects_theirs(tmp_path: Path) -> None:
    parts = parts_of(tmp_path, [[1, 2], [3], [], [4, 5]])
    codes = np.array([0, 1, 0, 3, 0], np.uint8)
    np.save(tmp_path / CODES, codes)
    shards = plan_shards(parts, codes, tmp_path, shard_bytes=4, keep_rejects=True)
    assert borders(shards) == [0, 4, 5]
    (tmp_path / "rejects").mkdir()
    for shard in shards:
        write_shard(shard, folder=tmp_path)
        assert shard.is_done()
    contents = [[row["content"] for row in read_documents(shard.path)] for shard in shards]
    assert contents == [["0", "111"], ["33333"]]
    import pyarrow.parquet as pq

    rejects = [pq.read_table(shard.rejects).to_pylist() for shard in shards]
    assert [[(row["reason"], row["content"]) for row in rows] for rows in rejects] == [
        [("duplicate", b"00"), ("contaminated", b"3333")],
        [],
    ]
