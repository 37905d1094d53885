"""The order of samples with like lengths side by side: left-padded batches that are padding to a small part only.

In: each sample's lengths. Out: position in the run to sample index, as order.py has it: a permutation each epoch, any
position reached directly, so that a run resumes anywhere. Whole batches of the shuffled order are taken 64 at a time;
their samples are sorted by length, cut into batches again, and the batches shuffled. What a batch holds depends on
(seed, epoch, batch size) alone, not on ranks.

A left-padded row is as wide as the longest prompt and the longest completion of its batch, which may be of two
samples. So samples are sorted twice: by their whole length into about as many strips as a strip has batches, and by
their prompts within a strip. Sorted by the whole length alone they leave up to twice as much padding (docs/data.md).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.order import ShuffledOrder

GROUPED_BATCHES = 64
"""Batches that are sorted together: more leave less padding, and less chance to which samples meet."""


class LengthGroupedOrder:
    """`order(positions)`: the samples at these positions of the run, int64 [P] -> int64 [P]."""

    def __init__(self, lengths_N2: NDArray[np.int64], *, batch_size: int, seed: int) -> None:
        """lengths_N2: positions of each sample's prompt, and of what follows it. batch_size: samples of a batch."""
        self._lengths_N2 = lengths_N2
        self._batch_size = batch_size
        self._shuffled = ShuffledOrder(len(lengths_N2), seed)
        self._seed = seed
        self._kept: tuple[tuple[int, int], NDArray[np.int64]] | None = None

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """A batch in which one epoch ends and the next begins keeps its samples as they were shuffled."""
        return np.array([self._one(position) for position in positions.tolist()], np.int64)

    def _one(self, position: int) -> int:
        epoch, place = divmod(position, len(self._lengths_N2))
        first, num_batches = self._whole_batches(epoch)
        number, place = divmod(place - first, GROUPED_BATCHES * self._batch_size)
        if number < 0 or number * GROUPED_BATCHES + place // self._batch_size >= num_batches:
            return self._shuffled(position)
        if self._kept is None or self._kept[0] != (epoch, number):
            self._kept = (epoch, number), self._group(epoch, number)
        return int(self._kept[1][place])

    def _whole_batches(self, epoch: int) -> tuple[int, int]:
        """(where in the epoch its first whole batch begins, how many whole batches it has)."""
        first = -epoch * len(self._lengths_N2) % self._batch_size
        return first, max(0, len(self._lengths_N2) - first) // self._batch_size

    def _group(self, epoch: int, number: int) -> NDArray[np.int64]:
        """The samples of up to GROUPED_BATCHES whole batches, in the order in which the run takes them."""
        first, num_batches = self._whole_batches(epoch)
        num_batches = min(GROUPED_BATCHES, num_batches - number * GROUPED_BATCHES)
        start = epoch * len(self._lengths_N2) + first + number * GROUPED_BATCHES * self._batch_size
        samples = self._shuffled(np.arange(start, start + num_batches * self._batch_size))
        samples = samples[np.argsort(self._lengths_N2[samples].sum(axis=1), kind="stable")]
        batches = []
        for strip in np.array_split(samples.reshape(num_batches, self._batch_size), round(math.sqrt(num_batches))):
            by_prompt = np.argsort(self._lengths_N2[strip.ravel(), 0], kind="stable")
            batches.append(strip.ravel()[by_prompt].reshape(strip.shape))
        # Another permutation for each group of the run: ShuffledOrder has one for each of its epochs.
        turn = epoch * (1 + len(self._lengths_N2) // self._batch_size) + number
        taken = ShuffledOrder(num_batches, self._seed)(np.arange(num_batches) + num_batches * turn)
        return np.concatenate(batches)[taken].ravel()
