"""Parts to shards: the documents that are kept, in order, in files of about equal size.

In: parts, and why each of their documents is dropped, if it is. Out: DIRECTORY/shard-00000.parquet, ... Each shard is a
task of its own: where it begins and ends is known from the documents' sizes before any is written.
Memory: a row group of text; for the plan, a byte a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_codex.corpus.candidates import CONTAMINATED, DUPLICATE, KEPT, NEAR_DUPLICATE
from megatron_codex.corpus.parts import PartList, read_facts
from megatron_codex.corpus.shards import REJECTS_SCHEMA, SCHEMA, TableWriter, read_tables

OUTCOMES = (KEPT, DUPLICATE, NEAR_DUPLICATE, CONTAMINATED)
"""What becomes of a document of a part; codes are places in this list."""


CODES = "codes.npy"
"""The documents' codes, [number of documents], uint8."""


@dataclass(frozen=True)
class Shard:
    """Documents begin..end of all parts, those that are kept; and, on request, a file for those that are not."""

    path: Path
    rejects: Path | None
    begin: int
    end: int

    def is_done(self) -> bool:
        """Whether its files are there."""
        return self.path.exists() and (self.rejects is None or self.rejects.exists())


def plan_shards(
    parts: PartList, codes: NDArray[np.uint8], directory: Path, *, shard_bytes: int, keep_rejects: bool
) -> list[Shard]:
    """Shards of at most shard_bytes of text each; one document that is larger has a shard of its own.

    codes: place in OUTCOMES, one a document.
    """
    borders = [0]
    used = 0
    position = 0
    for part in parts.parts:
        sizes = read_facts(part)["size_bytes"]
        kept = np.flatnonzero(codes[position : position + len(sizes)] == 0)
        ends = np.cumsum(sizes[kept])
        row, before = 0, 0
        while row < len(kept):
            count = int(np.searchsorted(ends, before + shard_bytes - used, side="right")) - row
            if count == 0 and used == 0:
                count = 1  # larger than a shard
            row += count
            used += (int(ends[row - 1]) if row else 0) - before
            before = int(ends[row - 1]) if row else 0
            if row < len(kept):
                borders.append(position + int(kept[row]))
                used = 0
        position += len(sizes)
    borders.append(len(codes))
    return [
        Shard(
            directory / f"shard-{number:05}.parquet",
            directory / "rejects" / f"shard-{number:05}.parquet" if keep_rejects else None,
            begin,
            end,
        )
        for number, (begin, end) in enumerate(pairwise(borders))
    ]


def write_shard(shard: Shard, *, folder: Path) -> None:
    """Write the shard's files. folder: has the saved list of parts, and CODES."""
    parts, codes = PartList.load(folder), np.load(folder / CODES, mmap_mode="r")
    with TableWriter(shard.path, SCHEMA) as kept:
        for table, outcome in _rows(shard, parts, codes):
            kept.add(*_chosen(table, outcome == 0))
    if shard.rejects is not None:
        with TableWriter(shard.rejects, REJECTS_SCHEMA, keep_empty=True) as dropped:
            for table, outcome in _rows(shard, parts, codes):
                rows, sizes = _chosen(table, outcome != 0)
                reasons = pa.array([OUTCOMES[code] for code in outcome[outcome != 0].tolist()], pa.string())
                rows = rows.append_column("reason", reasons).select(REJECTS_SCHEMA.names).cast(REJECTS_SCHEMA)
                dropped.add(rows, sizes)


def _chosen(table: pa.Table, which: NDArray[np.bool_]) -> tuple[pa.Table, NDArray[np.int64]]:
    rows = table.filter(pa.array(which))
    return rows, rows["size_bytes"].to_numpy()


def _rows(shard: Shard, parts: PartList, codes: NDArray[np.uint8]) -> Iterator[tuple[pa.Table, NDArray[np.uint8]]]:
    """The shard's documents and their codes, a row group or less at a time."""
    number = int(np.searchsorted(parts.first, shard.begin, side="right")) - 1
    while number < len(parts.parts) and parts.first[number] < shard.end:
        position, end_of_part = parts.first[number : number + 2].tolist()
        for table in read_tables(parts.parts[number].documents) if position < end_of_part else ():
            begin, end = max(shard.begin, position), min(shard.end, position + len(table))
            if begin < end:
                yield table.slice(begin - position, end - begin), codes[begin:end]
            position += len(table)
        number += 1
