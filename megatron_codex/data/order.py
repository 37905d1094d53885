"""The order of samples: position in the run to sample index, a new permutation each epoch.

No permutation is stored: each is a keyed bijection (a Feistel network over the next power of four, walked until it
lands inside), so a run of any size starts at once and any position is reached directly when it resumes.
Source: Black and Rogaway, "Ciphers with Arbitrary Finite Domains" (2002), cycle walking; SplitMix64 as round function.
"""

from __future__ import annotations

from megatron_codex.errors import InputError

_MASK = (1 << 64) - 1
_ROUNDS = 8  # four suffice for pseudorandomness (Luby and Rackoff); eight for halves of a few bits


class ShuffledOrder:
    """`order(position)`: the sample at a position; positions num_samples * e + 0.. hold epoch e's permutation.

    >>> order = ShuffledOrder(4, seed=7)
    >>> sorted(order(position) for position in range(4, 8))
    [0, 1, 2, 3]
    """

    def __init__(self, num_samples: int, seed: int) -> None:
        """Raises: InputError when there is no sample to order."""
        if num_samples < 1:
            rule = "there must be at least one sample"
            raise InputError("num_samples", value=num_samples, rule=rule, remedy="give more data")
        self.num_samples = num_samples
        self.seed = seed
        self._half_bits = max(1, ((num_samples - 1).bit_length() + 1) // 2)

    def __call__(self, position: int) -> int:
        """Sample index, 0..num_samples - 1, of a position counted from the run's start."""
        epoch, index = divmod(position, self.num_samples)
        key = _mix(_mix(self.seed & _MASK) ^ epoch)
        # A bijection of the larger domain, repeated until it comes back inside, is a bijection of the smaller one.
        index = self._permute(index, key)
        while index >= self.num_samples:
            index = self._permute(index, key)
        return index

    def _permute(self, index: int, key: int) -> int:
        bits, half = self._half_bits, (1 << self._half_bits) - 1
        left, right = index >> bits, index & half
        for number in range(_ROUNDS):
            left, right = right, left ^ (_mix(key + (number << 48) ^ right) & half)
        return left << bits | right


def _mix(value: int) -> int:
    """SplitMix64's output function: a bijection of 64 bits in which every bit moves every other."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31
