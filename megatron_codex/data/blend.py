"""Several sample sources as one, each with a weight: what share of the samples it gives.

In: sources, weights. Out: a SampleSource whose epoch holds every sample of every source at least once and the sources
in the wanted proportion; a source that is small for its weight comes several times, each time in another order.

The sources are interleaved evenly, not drawn: any first n samples hold each source's share to within a few samples.
So a blend brings its own order: index k is the k-th sample of the run, epoch after epoch. Nothing is stored for a
sample: sources are halved again and again, and at each halving k samples hold round(k * left / both) of the left half,
counted in exact integers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.batch import Batch, SampleSource
from megatron_codex.data.order import ShuffledOrder
from megatron_codex.errors import InputError

_RULE = 2
"""Of how the sources are mixed, for the fingerprint: 1 laid them end to end and left the mixing to the loop."""


class BlendedSource:
    """A SampleSource over others. Index k, of any size, is the k-th sample of the run: it must not be shuffled."""

    def __init__(self, sources: Sequence[SampleSource], *, weights: Sequence[float], seed: int) -> None:
        """weights: relative shares of samples, one a source, all positive.

        Raises: InputError for weights that are none, or not one a source.
        """
        if len(weights) != len(sources) or not all(0 < weight < float("inf") for weight in weights):
            raise InputError(
                "weights",
                value=tuple(weights),
                rule=f"must be {len(sources)} positive numbers, one a data set",
                remedy="for example 4 1 for four samples of the first to one of the second",
            )
        self.sources = list(sources)
        self.weights = [float(weight) for weight in weights]
        exact = [Fraction(weight) for weight in self.weights]
        scale = max(len(source) / weight for source, weight in zip(sources, exact, strict=True))
        self.num_samples = [round(weight * scale) for weight in exact]
        """Samples of each source in one epoch of the blend; at least its own number."""
        self._before = [sum(self.num_samples[:number]) for number in range(len(sources) + 1)]
        self._orders = [ShuffledOrder(len(source), seed + number) for number, source in enumerate(sources)]

    def __len__(self) -> int:
        """Samples of an epoch of the blend."""
        return self._before[-1]

    def order(self, position: NDArray[np.int64]) -> NDArray[np.int64]:
        """The loop's order of samples: position k of the run is sample k."""
        return position

    def sequence_length(self, indices: Sequence[int]) -> int:
        """Positions that these samples need, the largest of their sources'."""
        return max(source.sequence_length(own) for source, own, _ in self._by_source(indices))

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """Samples [B, S], S = seq_length, in the order of `indices`."""
        parts = [(source.batch(own, seq_length=seq_length), rows) for source, own, rows in self._by_source(indices)]
        documents = [part.document_ids for part, _ in parts]
        assert all((ids is None) == (documents[0] is None) for ids in documents), "sources differ in document ids"
        # Row r of the batch is row place[r] of the parts laid end to end.
        place = np.argsort(np.concatenate([rows for _, rows in parts]))
        names = ["tokens", "labels", "loss_mask", "position_ids"] + ["document_ids"] * (documents[0] is not None)
        joined = {name: np.concatenate([getattr(part, name) for part, _ in parts])[place] for name in names}
        return replace(parts[0][0], **joined)

    def fingerprint(self) -> str:
        """Hash of every source's fingerprint, the weights and the orders' seeds."""
        content = {
            "rule": _RULE,
            "sources": [source.fingerprint() for source in self.sources],
            "weights": self.weights,
            "seeds": [order.seed for order in self._orders],
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _by_source(self, indices: Sequence[int]) -> list[tuple[SampleSource, list[int], list[int]]]:
        """Each source that has some of these samples, with their indices in it and their rows here."""
        rows: dict[int, list[int]] = {}
        turns: dict[int, list[int]] = {}
        for row, index in enumerate(indices):
            number, turn = self._locate(index)
            rows.setdefault(number, []).append(row)
            turns.setdefault(number, []).append(turn)
        return [
            (self.sources[number], self._orders[number](np.array(turns[number], np.int64)).tolist(), rows[number])
            for number in sorted(rows)
        ]

    def _locate(self, index: int) -> tuple[int, int]:
        """(source, how many samples of it came before in the run) of a sample of the blend."""
        assert index >= 0, f"sample {index}"
        epoch, index = divmod(index, len(self))
        low, high = 0, len(self.sources)  # the sample's source is one of low..high - 1
        while high - low > 1:
            middle = (low + high) // 2
            left, both = self._before[middle] - self._before[low], self._before[high] - self._before[low]
            # Rounded, halves up: 0 before the first and `left` after the last sample of the epoch.
            left_before, left_after = ((2 * count * left + both) // (2 * both) for count in (index, index + 1))
            if left_after > left_before:
                high, index = middle, left_before
            else:
                low, index = middle, index - left_before
        return low, epoch * self.num_samples[low] + index
