"""The order of samples: position in the run to sample index, a new permutation each epoch.

No permutation is stored: each is a keyed bijection (a Feistel network over the next power of four, walked until it
lands inside), so a run of any size starts at once and any position is reached directly when it resumes.
Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains" (2002), cycle walking; SplitMix64 as round function.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import NDArray

from megatron_codex.errors import InputError

_MASK = (1 << 64) - 1
_ROUNDS = 8  # four suffice for pseudorandomness (Luby and Rackoff); eight for halves of a few bits
_FEW = 24  # positions up to which one by one is faster than numpy's calls


class ShuffledOrder:
    """`order(position)`: the sample at a position; positions num_samples * e + 0.. hold epoch e's permutation.

    >>> order = ShuffledOrder(4, seed=7)
    >>> sorted(order(position) for position in range(4, 8))
    [0, 1, 2, 3]
    """

    def __init__(self, num_samples: int, seed: int) -> None:
        """num_samples: 1..2**63 - 1. Raises: InputError when there is no sample to order."""
        if num_samples < 1:
            rule = "there must be at least one sample"
            raise InputError("num_samples", value=num_samples, rule=rule, remedy="give more data")
        self.num_samples = num_samples
        self.seed = seed
        self._half_bits = max(1, ((num_samples - 1).bit_length() + 1) // 2)

    @overload
    def __call__(self, position: int) -> int: ...

    @overload
    def __call__(self, position: NDArray[np.int64]) -> NDArray[np.int64]: ...

    def __call__(self, position: int | NDArray[np.int64]) -> int | NDArray[np.int64]:
        """Sample index, 0..num_samples - 1, of a position counted from the run's start; of many positions, theirs.

        position: an integer of any size, or int64 [P]; the values are the same.
        """
        if not isinstance(position, np.ndarray):
            return self._one(position)
        if len(position) <= _FEW:
            return np.array([self._one(one) for one in position.tolist()], np.int64)
        return self._many(position)

    def _one(self, position: int) -> int:
        epoch, index = divmod(position, self.num_samples)
        key = _mix(_mix(self.seed & _MASK) ^ epoch)
        # A bijection of the larger domain, repeated until it comes back inside, is a bijection of the smaller one.
        index = self._permute(index, key)
        while index >= self.num_samples:
            index = self._permute(index, key)
        return index

    def _many(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """As _one, by numpy: unsigned 64-bit arithmetic wraps as the mask does."""
        epochs, rests = np.divmod(positions, self.num_samples)
        keys = _mix_many(np.uint64(_mix(self.seed & _MASK)) ^ epochs.astype(np.uint64))
        indices = self._permute_many(rests.astype(np.uint64), keys)
        outside = np.flatnonzero(indices >= np.uint64(self.num_samples))
        while len(outside):
            moved = self._permute_many(indices[outside], keys[outside])
            indices[outside] = moved
            outside = outside[moved >= np.uint64(self.num_samples)]
        return indices.astype(np.int64)

    def _permute(self, index: int, key: int) -> int:
        bits, half = self._half_bits, (1 << self._half_bits) - 1
        left, right = index >> bits, index & half
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mix(key + (number << 48) ^ right) & half)
        return left << bits | right

    def _permute_many(self, indices: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        bits, half = np.uint64(self._half_bits), np.uint64((1 << self._half_bits) - 1)
        left, right = indices >> bits, indices & half
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mix_many(keys + np.uint64(number << 48) ^ right) & half)
        return left << bits | right


def _mix(value: int) -> int:
    """SplitMix64's output function: a bijection of 64 bits in which every bit moves every other."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


def _mix_many(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ values >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return values ^ values >> np.uint64(31)
