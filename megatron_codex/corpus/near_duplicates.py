"""Near-duplicates: which documents are too like an earlier one to be kept.

In: a sketch of each document (sketches.py). Out: for each document the first one of its component, its own position
where it is kept. Two documents are joined when their sketches agree in at least `threshold` of their places, and
components are chains of such pairs: every document dropped has such a pair, and the first of a component stays.

Pairs are found through bands (banding.py) rather than by comparing all with all:

1. One pass over the sketches writes the keys of the whole sketch and of each band to tables on disk.
2. Equal sketches are joined to the first of them, which alone takes part in what follows.
3. In each band, documents with the same key are compared: up to 64 documents all with all. Of more, the first is
   compared with all, then the first of those that were like none so far, and so on, for 8 million comparisons at most:
   a pair that meets in such buckets only may be missed. If documents are left over, a warning counts them.

At 128 permutations and a threshold of 0.85 there are 11 bands of 11 rows, and two documents of similarity s meet with
the probability

    s      0.30  0.50  0.60  0.70  0.75  0.80  0.85  0.90  0.95
    meet   0.00  0.01  0.04  0.20  0.38  0.63  0.87  0.98  1.00

Memory: 9 bytes a document and about 60 MB (more if a bucket has over a million differing sketches: 16 bytes for each of
them, a few times), beside the pages of `sketches` that the system keeps. Disk, while it runs: 16 bytes a document and
table, 192 bytes a document at these parameters.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from megatron_codex.corpus.banding import band_keys, choose_banding
from megatron_codex.corpus.buckets import BucketTables, Records, by_key
from megatron_codex.corpus.components import Components
from megatron_codex.corpus.sketches import EMPTY
from megatron_codex.errors import InputError
from megatron_codex.log import progress

_logger = logging.getLogger(__name__)

_SLICE_DOCUMENTS = 1 << 15
_PARTITION_DOCUMENTS = 1 << 20
_COMPARED_AT_ONCE = 1 << 13
_ALL_PAIRS_DOCUMENTS = 64
_MAX_COMPARISONS = 1 << 23
_EQUAL = 0  # the table of whole sketches

Sketches = NDArray[np.uint32]
Positions = NDArray[np.int64]


def find_near_duplicates(
    sketches: Sketches, *, threshold: float, skip: NDArray[np.bool_] | None = None, work: Path
) -> Positions:
    """The position of the document that represents each document, [N]; its own where it is kept.

    sketches: [N, num_permutations], in memory or mapped from a file. threshold: the least share of places in which the
    sketches of two documents that are taken for the same agree. skip: [N], documents that take no part and represent
    themselves, as those without words do. work: directory for tables, which are removed.
    Raises: InputError when an argument is out of range or of another shape.
    """
    _require_arguments(sketches, threshold, skip)
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="near-duplicates-", dir=work) as directory:
        return _Search(sketches, threshold, Path(directory)).run(skip)


class _Search:
    def __init__(self, sketches: Sketches, threshold: float, directory: Path) -> None:
        num_documents, self._num_places = sketches.shape
        self._sketches = sketches
        self._least = math.ceil(threshold * self._num_places - 1e-9)
        self._banding = choose_banding(threshold=threshold, num_permutations=self._num_places)
        self._tables = BucketTables(
            directory,
            num_tables=1 + self._banding.num_bands,
            num_documents=num_documents,
            partition_documents=_PARTITION_DOCUMENTS,
        )
        self._components = Components(num_documents)
        self._num_not_compared = 0

    def run(self, skip: NDArray[np.bool_] | None) -> Positions:
        self._write_tables(skip)
        tables = range(1 + self._banding.num_bands)
        equals_earlier = np.zeros(len(self._sketches), bool)
        for table in progress(tables, total=len(tables), description="near-duplicates: compare", unit="tables"):
            for partition in range(self._tables.num_partitions):
                blocks = self._tables.blocks(table, partition)
                if table == _EQUAL:
                    self._join_equal(blocks, equals_earlier)
                else:
                    self._join_alike(by_key([block[~equals_earlier[block["document"]]] for block in blocks]))
        if self._num_not_compared:
            _logger.warning(
                "%d times a document shared a band with so many others that it was not compared with all of them",
                self._num_not_compared,
            )
        return self._components.all_firsts()

    def _write_tables(self, skip: NDArray[np.bool_] | None) -> None:
        begins = range(0, len(self._sketches), _SLICE_DOCUMENTS)
        for begin in progress(begins, total=len(begins), description="near-duplicates: keys", unit="slices"):
            own = np.asarray(self._sketches[begin : begin + _SLICE_DOCUMENTS])
            takes_part = own[:, 0] != EMPTY
            if skip is not None:
                takes_part &= ~skip[begin : begin + len(own)]
            documents = np.flatnonzero(takes_part)
            self._tables.add(band_keys(own[documents], self._banding), documents + begin)

    def _join_equal(self, blocks: Iterator[Records], equals_earlier: NDArray[np.bool_]) -> None:
        """Join documents with equal sketches to the first of them, block by block: one key may be that of all."""
        keys, firsts = np.empty(0, np.uint64), np.empty(0, np.int64)
        for block in blocks:
            known = np.searchsorted(keys, block["key"])
            is_known = known < len(keys)
            is_known[is_known] = keys[known[is_known]] == block["key"][is_known]
            first = block["document"][_bucket_begins(block)]
            first[is_known] = firsts[known[is_known]]
            later = first != block["document"]
            left, right = first[later], block["document"][later]
            equal = self._agreements(left, right) == self._num_places
            self._components.join(left[equal], right[equal])
            equals_earlier[right[equal]] = True
            new = ~is_known & ~later
            keys, firsts = np.concatenate((keys, block["key"][new])), np.concatenate((firsts, first[new]))
            order = np.argsort(keys, kind="stable")
            keys, firsts = keys[order], firsts[order]

    def _join_alike(self, records: Records) -> None:
        """Join the documents of a partition that share a bucket and are alike."""
        begins = _bucket_begins(records)
        sizes = np.bincount(begins, minlength=len(records))
        for begin in np.flatnonzero(sizes > _ALL_PAIRS_DOCUMENTS):
            self._join_in_large_bucket(records["document"][begin : begin + sizes[begin]])
        small = (sizes > 1) & (sizes <= _ALL_PAIRS_DOCUMENTS)
        kept = small[begins]
        documents, begins = records["document"][kept], begins[kept]
        for distance in range(1, int(sizes[small].max(initial=1))):
            pairs = np.flatnonzero(begins[distance:] == begins[:-distance])
            self._join_if_alike(documents[pairs], documents[pairs + distance])

    def _join_if_alike(self, left: Positions, right: Positions) -> None:
        apart = self._components.firsts(left) != self._components.firsts(right)
        left, right = left[apart], right[apart]
        alike = self._agreements(left, right) >= self._least
        self._components.join(left[alike], right[alike])

    def _join_in_large_bucket(self, documents: Positions) -> None:
        was_alike = np.zeros(len(documents), bool)
        num_leaders = 0
        for place, document in enumerate(documents):
            if was_alike[place]:
                continue
            if (num_leaders + 1) * len(documents) > _MAX_COMPARISONS:
                self._num_not_compared += int(np.count_nonzero(~was_alike[place:]))
                return
            num_leaders += 1
            leaders = np.full(len(documents), document)
            alike = self._agreements(leaders, documents) >= self._least
            self._components.join(leaders[alike], documents[alike])
            was_alike |= alike

    def _agreements(self, left: Positions, right: Positions) -> Positions:
        """In how many places the sketches agree, [len(left)]."""
        found = np.empty(len(left), np.int64)
        for begin in range(0, len(left), _COMPARED_AT_ONCE):
            chosen = slice(begin, begin + _COMPARED_AT_ONCE)
            same = self._sketches[left[chosen]] == self._sketches[right[chosen]]
            found[chosen] = np.count_nonzero(same, axis=1)
        return found


def _bucket_begins(records: Records) -> Positions:
    """For each record the place of the first one with its key."""
    if not len(records):
        return np.empty(0, np.int64)
    changes = np.flatnonzero(records["key"][1:] != records["key"][:-1]) + 1
    starts = np.concatenate(([0], changes))
    return np.repeat(starts, np.diff(np.append(starts, len(records))))


def _require_arguments(sketches: Sketches, threshold: float, skip: NDArray[np.bool_] | None) -> None:
    if sketches.ndim != 2 or sketches.dtype != np.uint32 or sketches.shape[1] == 0:
        found = f"{sketches.dtype} {list(sketches.shape)}"
        rule, remedy = "must be uint32 [num_documents, num_permutations]", "give what sketch_documents gave"
        raise InputError("sketches", value=found, rule=rule, remedy=remedy)
    if not 0 < threshold <= 1:
        remedy = "give a share, 0.85 for 85 %"
        raise InputError("threshold", value=threshold, rule="must be above 0 and at most 1", remedy=remedy)
    if skip is not None and (skip.shape != sketches.shape[:1] or skip.dtype != np.bool_):
        found = f"{skip.dtype} {list(skip.shape)}"
        raise InputError("skip", value=found, rule="must be bool [num_documents]", remedy="give one for each sketch")
