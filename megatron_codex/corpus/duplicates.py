"""Exact duplicates among the documents of all parts: of equal texts the first is kept.

In: parts. Out: for each document, numbered through the parts in order, whether an earlier one has the same text.
Documents are grouped by a 128-bit hash, which is fast and can be forged; where hashes meet, the texts' SHA-256 decide.

Memory: a byte a document, and _RECORDS_IN_A_BUCKET records a worker. Disk: 16 bytes a document, 56 more for each of
those whose hashes meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_codex.corpus.execution import RunTasks
from megatron_codex.corpus.parts import PartList, read_facts
from megatron_codex.corpus.shards import read_tables
from megatron_codex.files import atomic_file

_HASH = np.dtype([("low", np.uint64), ("high", np.uint64)])
_HASHES, _MEMBERS, _DIGESTS = "hashes.bin", "members.npy", "digests.bin"
_RECORDS_IN_A_BUCKET = 2_000_000
_BLOCK = 1_000_000


@dataclass(frozen=True)
class _Task:
    """A bucket of hashes, or the documents of a part whose hashes meet another's."""

    number: int
    output: Path


def find_duplicates(parts: PartList, *, run: RunTasks, folder: Path) -> NDArray[np.bool_]:
    """[number of documents]: whether an earlier document has the same text.

    folder: has the saved list of parts, and takes the intermediate files; what a killed run left there is used.
    """
    if not (folder / _HASHES).exists():
        _gather_hashes(parts, folder / _HASHES)
    num_buckets = max(1, -(-parts.num_documents // _RECORDS_IN_A_BUCKET))
    meeting = [_Task(number, folder / f"meeting-{number:05}.npy") for number in range(num_buckets)]
    run(partial(_find_meeting, folder, num_buckets), meeting, done=_is_done, description="hashes that meet")
    members = np.flatnonzero(_marked(parts, meeting))
    _save(folder / _MEMBERS, members)

    begins = np.searchsorted(members, parts.first)
    digests = [
        _Task(number, folder / f"digests-{number:07}.npy")
        for number, (begin, end) in enumerate(pairwise(begins.tolist()))
        if begin < end
    ]
    run(partial(_digest_members, folder), digests, done=_is_done, description="texts compared")
    with atomic_file(folder / _DIGESTS) as handle:
        for task in digests:
            handle.write(np.load(task.output).tobytes())

    duplicates = [_Task(task.number, folder / f"duplicates-{task.number:05}.npy") for task in meeting]
    run(partial(_find_equal, folder), duplicates, done=_is_done, description="duplicates")
    return _marked(parts, duplicates)


def _marked(parts: PartList, tasks: Sequence[_Task]) -> NDArray[np.bool_]:
    marked = np.zeros(parts.num_documents, bool)
    for task in tasks:
        marked[np.load(task.output)] = True
    return marked


def _is_done(task: _Task) -> bool:
    return task.output.exists()


def _gather_hashes(parts: PartList, path: Path) -> None:
    with atomic_file(path) as handle:
        for part in parts.parts:
            facts = read_facts(part)
            hashes = np.empty(len(facts), _HASH)
            hashes["low"], hashes["high"] = facts["hash_low"], facts["hash_high"]
            handle.write(hashes.tobytes())


def _open_hashes(folder: Path) -> NDArray[Any]:
    path = folder / _HASHES
    return np.memmap(path, _HASH, "r") if path.stat().st_size else np.empty(0, _HASH)


def _find_meeting(folder: Path, num_buckets: int, task: _Task) -> None:
    """Documents of the bucket whose hash another one has, in the order of their hashes, then of their numbers."""
    records = _open_hashes(folder)
    found = [np.empty(0, np.int64)]
    for begin in range(0, len(records), _BLOCK):
        block = records[begin : begin + _BLOCK]
        found.append(begin + np.flatnonzero(block["high"] % np.uint64(num_buckets) == task.number))
    documents = np.concatenate(found)
    own = records[documents]
    order = np.lexsort((documents, own["low"], own["high"]))
    documents, own = documents[order], own[order]
    same = own[1:] == own[:-1]
    meets = np.append(same, False) | np.insert(same, 0, False) if len(own) else np.empty(0, bool)
    _save(task.output, documents[meets])


def _digest_members(folder: Path, task: _Task) -> None:
    """SHA-256 of the texts of a part's members, [number, 32]."""
    parts = PartList.load(folder)
    begin, end = parts.first[task.number : task.number + 2].tolist()
    every = np.load(folder / _MEMBERS, mmap_mode="r")
    wanted = every[np.searchsorted(every, begin) : np.searchsorted(every, end)] - begin
    digests = []
    row = 0
    for table in read_tables(parts.parts[task.number].documents):
        here = wanted[(wanted >= row) & (wanted < row + len(table))] - row
        for text in table["content"].take(here).to_pylist():
            digests.append(hashlib.sha256(text.encode()).digest())
        row += len(table)
    _save(task.output, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32))


def _find_equal(folder: Path, task: _Task) -> None:
    """Documents of a bucket that have the hash and the digest of an earlier one."""
    documents = np.load(folder / f"meeting-{task.number:05}.npy")
    if not len(documents):
        _save(task.output, documents)
        return
    rows = np.searchsorted(np.load(folder / _MEMBERS, mmap_mode="r"), documents)
    words = np.memmap(folder / _DIGESTS, np.uint64, "r").reshape(-1, 4)[rows]
    own = _open_hashes(folder)[documents]
    keys = [own["high"], own["low"], *words.T]
    order = np.lexsort((documents, *reversed(keys)))
    same = np.ones(len(documents) - 1, bool)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    _save(task.output, documents[order][1:][same])


def _save(path: Path, array: NDArray[Any]) -> None:
    with atomic_file(path) as handle:
        np.save(handle, array)
