"""Several sample sources as one, each with a weight: what share of the samples it gives.

In: sources, weights. Out: a SampleSource whose epoch holds every sample of every source at least once and the sources
in the wanted proportion; a source that is small for its weight comes several times, each time in another order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from megatron_codex.data.batch import Batch, SampleSource
from megatron_codex.data.order import ShuffledOrder
from megatron_codex.errors import InputError


class BlendedSource:
    """A SampleSource over others. Index k belongs to the source whose range holds it; the loop's order mixes them."""

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
        scale = max(len(source) / weight for source, weight in zip(sources, weights, strict=True))
        self.num_samples = [round(weight * scale) for weight in self.weights]
        """Samples of each source in one epoch of the blend; at least its own number."""
        self._first = np.cumsum([0, *self.num_samples])
        self._orders = [ShuffledOrder(len(source), seed + number) for number, source in enumerate(sources)]

    def __len__(self) -> int:
        """Samples of an epoch of the blend."""
        return int(self._first[-1])

    def sequence_length(self, indices: Sequence[int]) -> int:
        """Positions that these samples need, the largest of their sources'."""
        return max(self.sources[number].sequence_length([local]) for number, local in map(self._locate, indices))

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """Samples [B, S], S = seq_length, in the order of `indices`."""
        places = [self._locate(index) for index in indices]
        rows = [self.sources[number].batch([local], seq_length=seq_length) for number, local in places]
        documents = [row.document_ids for row in rows]
        assert all((ids is None) == (documents[0] is None) for ids in documents), "sources differ in document ids"
        return Batch(
            tokens=np.concatenate([row.tokens for row in rows]),
            labels=np.concatenate([row.labels for row in rows]),
            loss_mask=np.concatenate([row.loss_mask for row in rows]),
            position_ids=np.concatenate([row.position_ids for row in rows]),
            document_ids=None
            if documents[0] is None
            else np.concatenate([ids for ids in documents if ids is not None]),
        )

    def fingerprint(self) -> str:
        """Hash of every source's fingerprint, the weights and the orders' seeds."""
        content = {
            "sources": [source.fingerprint() for source in self.sources],
            "weights": self.weights,
            "seeds": [order.seed for order in self._orders],
        }
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _locate(self, index: int) -> tuple[int, int]:
        """(source, its own sample index) of a sample of the blend."""
        assert 0 <= index < len(self), f"sample {index} of {len(self)}"
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        return number, self._orders[number](index - int(self._first[number]))
