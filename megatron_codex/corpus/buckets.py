"""Tables from keys to documents, on disk: which documents have the same key.

In: (key, document) records, document by document. Out: each table's records, ordered by key and then by document, in
partitions of neighbouring keys that fit in memory. Files: 16 bytes a record. Memory: a partition, and what a slice of
documents brings (which keys belong to which partition, 8 bytes for each slice and partition).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("key", "<u8"), ("document", "<i8")])

Records = NDArray[Any]
Positions = NDArray[np.int64]


class BucketTables:
    """num_tables files of records in a directory of their own, for at most num_documents documents."""

    def __init__(self, directory: Path, *, num_tables: int, num_documents: int, partition_documents: int) -> None:
        self._paths = [directory / f"table-{table:04}.records" for table in range(num_tables)]
        self._block_records = partition_documents // 4 + 1
        self._partition_bits = max(0, (num_documents - 1) // partition_documents).bit_length()
        # A slice's records lie one after another, ordered by key: cuts[table][slice] has where each partition begins.
        self._cuts: list[list[Positions]] = [[] for _ in range(num_tables)]
        self._num_records = 0

    @property
    def num_partitions(self) -> int:
        """Partitions of a table."""
        return 1 << self._partition_bits

    def add(self, keys: NDArray[np.uint64], documents: Positions) -> None:
        """Append a slice: keys [num_tables, n] of documents [n], which rise from slice to slice."""
        borders = np.arange(1, self.num_partitions, dtype=np.uint64) << np.uint64(64 - self._partition_bits)
        for path, cuts, own in zip(self._paths, self._cuts, keys, strict=True):
            order = np.argsort(own, kind="stable")
            records = np.empty(len(order), RECORD)
            records["key"], records["document"] = own[order], documents[order]
            inner = np.searchsorted(records["key"], borders)
            cuts.append(np.concatenate(([0], inner, [len(order)])) + self._num_records)
            with path.open("ab") as handle:
                records.tofile(handle)
        self._num_records += len(documents)

    def blocks(self, table: int, partition: int) -> Iterator[Records]:
        """A partition's records in blocks, each ordered by key and document; documents rise from block to block."""
        pending: list[Records] = []
        num_pending = 0
        if not self._num_records:
            return
        with self._paths[table].open("rb") as handle:
            for cuts in self._cuts[table]:
                begin, end = int(cuts[partition]), int(cuts[partition + 1])
                if begin == end:
                    continue
                handle.seek(begin * RECORD.itemsize)
                pending.append(np.fromfile(handle, RECORD, end - begin))
                num_pending += end - begin
                if num_pending >= self._block_records:
                    yield by_key(pending)
                    pending, num_pending = [], 0
        if pending:
            yield by_key(pending)


def by_key(parts: list[Records]) -> Records:
    """Parts of which each is ordered, their documents rising from part to part, as one ordered by key and document."""
    records = np.concatenate(parts) if parts else np.empty(0, RECORD)
    return records[np.argsort(records["key"], kind="stable")]
