from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from megatron_codex.corpus.buckets import BucketTables, by_key


@pytest.mark.parametrize("num_documents", [0, 1, 100], ids=lambda number: f"{number}-documents")
def test_tables_give_back_all_records_by_key(tmp_path: Path, num_documents: int) -> None:
    tables = BucketTables(tmp_path, num_tables=2, num_documents=num_documents, partition_documents=8)
    keys = np.random.default_rng(0).integers(2**64, size=(2, num_documents), dtype=np.uint64)
    keys[:, ::3] = keys[:, :1]
    for begin in range(0, num_documents, 13):
        tables.add(keys[:, begin : begin + 13], np.arange(begin, min(begin + 13, num_documents)))
    for table in range(2):
        blocks = [by_key(list(tables.blocks(table, number))) for number in range(tables.num_partitions)]
        found = [record for block in blocks for record in block.tolist()]
        assert found == sorted(zip(keys[table].tolist(), range(num_documents), strict=True))
