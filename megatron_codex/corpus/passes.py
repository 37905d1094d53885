"""Passes over the texts of all parts, a task a part: sketches for near-duplicates, and problems of benchmarks.

In: the saved list of parts. Out: for each part one file in the stage's folder; and, of all of them, which documents are
nearly the same as an earlier one, and which hold a problem. Memory: a row group of text a task.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from megatron_codex.config.corpus import DecontaminationConfig, NearDuplicateConfig
from megatron_codex.corpus.contamination import ProblemIndex
from megatron_codex.corpus.execution import RunTasks
from megatron_codex.corpus.near_duplicates import find_near_duplicates
from megatron_codex.corpus.parts import PartList
from megatron_codex.corpus.shards import read_tables
from megatron_codex.corpus.sketches import sketch_documents
from megatron_codex.corpus.text_batches import array_batch
from megatron_codex.files import atomic_file, require_file

_logger = logging.getLogger(__name__)

_EXCERPT_CHARS = 300


@dataclass(frozen=True)
class _Task:
    part: int
    output: Path


def require_problems(config: DecontaminationConfig) -> None:
    """Read the problem files before hours of other work. Raises: InputError naming the file, or its line at fault."""
    for path in config.problems:
        require_file(path, "problems of a benchmark")
    if config.problems:
        index = _problem_index(config)
        common = ", ".join(index.common_solutions)
        counts = (len(index.task_ids), len(index.common_solutions), common)
        _logger.info("%d problems; solutions of too few words to be looked for by themselves: %d (%s)", *counts)


def near_duplicates(
    parts: PartList, dropped: NDArray[np.bool_], config: NearDuplicateConfig, *, run: RunTasks, folder: Path
) -> NDArray[np.bool_]:
    """[number of documents]: whether it is nearly the same as an earlier one that is kept.

    dropped: documents that take no part. folder: has the saved list of parts, and takes the sketches.
    """
    tasks = _tasks(parts, folder, "sketches", ".npy")
    run(partial(_sketch_part, folder, config), tasks, done=_is_done, description="sketches")
    path = folder / "sketches.bin"
    with atomic_file(path) as handle:
        for task in tasks:
            handle.write(np.load(task.output).tobytes())
    sketches = np.memmap(path, np.uint32, "r", shape=(parts.num_documents, config.num_permutations))
    first = find_near_duplicates(sketches, threshold=config.threshold, skip=dropped, work=folder)
    alike: NDArray[np.bool_] = first != np.arange(parts.num_documents)
    return alike


def contaminated(
    parts: PartList, config: DecontaminationConfig, *, run: RunTasks, folder: Path
) -> tuple[NDArray[np.bool_], list[dict[str, Any]]]:
    """([number of documents]: whether it holds a problem; the ledger: a row for each problem in each document)."""
    tasks = _tasks(parts, folder, "problems", ".json")
    run(partial(_search_part, folder, config), tasks, done=_is_done, description="problems of benchmarks")
    found = np.zeros(parts.num_documents, bool)
    ledger = []
    for task in tasks:
        for row in json.loads(task.output.read_text()):
            row["document"] += int(parts.first[task.part])
            found[row["document"]] = True
            ledger.append(row)
    return found, ledger


def _tasks(parts: PartList, folder: Path, name: str, suffix: str) -> list[_Task]:
    has_documents = np.flatnonzero(np.diff(parts.first)).tolist()
    return [_Task(part, folder / f"{name}-{part:07}{suffix}") for part in has_documents]


def _is_done(task: _Task) -> bool:
    return task.output.exists()


def _sketch_part(folder: Path, config: NearDuplicateConfig, task: _Task) -> None:
    sketches = [
        sketch_documents(data, offsets, num_permutations=config.num_permutations, shingle_words=config.shingle_words)
        for _, data, offsets in _texts(folder, task)
    ]
    with atomic_file(task.output) as handle:
        np.save(handle, np.concatenate(sketches))


def _search_part(folder: Path, config: DecontaminationConfig, task: _Task) -> None:
    index = _problem_index(config)
    rows = []
    before = 0
    for table, data, offsets in _texts(folder, task):
        for hit in index.hits(data, offsets):
            file = {name: table[name][hit.document].as_py() for name in ("path", "source", "repository")}
            match = {"task_id": hit.task_id, "kind": hit.kind, "start": hit.start, "end": hit.end}
            rows.append({"document": before + hit.document, **file, **match, "excerpt": hit.text[:_EXCERPT_CHARS]})
        before += len(table)
    with atomic_file(task.output, "w") as handle:
        json.dump(rows, handle)


@lru_cache(maxsize=1)
def _problem_index(config: DecontaminationConfig) -> ProblemIndex:
    return ProblemIndex.from_files(config)


def _texts(folder: Path, task: _Task) -> Iterator[tuple[pa.Table, bytes | memoryview, NDArray[np.int64]]]:
    """(row group, its texts end to end, where each begins and the end) of a part."""
    path = PartList.load(folder).parts[task.part].documents
    row = 1
    for table in read_tables(path):
        batch = array_batch(table["content"].combine_chunks(), where=(path, row, "content"))
        yield table, batch.data, batch.offsets
        row += len(table)
