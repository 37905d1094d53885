"""Random numbers that belong to a sample, not to a batch.

In: the run's seed, a task, a sample's index, a position. Out: a number in [0, 1). Counter-based, so a sample's numbers
are the same whatever is decoded beside it, before it or in another process.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

# SplitMix64 (Steele, Lea, Flood 2014: Fast splittable pseudorandom number generators): its increment and mixers.
_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

_DRAWS_PER_POSITION = np.uint64(64)
"""Counters set aside for one position: the draw and its redraws (sampling/nucleus.py uses fewer)."""


def sample_key(seed: int, task_id: str, sample_index: int) -> int:
    """64-bit key of one sample: the start of its own random stream."""
    text = f"{seed}\0{task_id}\0{sample_index}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def uniform(keys_N: npt.NDArray[np.uint64], *, position: int, draw: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each key (N samples), 53 bits; position and draw count from 0."""
    assert 0 <= draw < int(_DRAWS_PER_POSITION)
    counter = np.uint64(position) * _DRAWS_PER_POSITION + np.uint64(draw + 1)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is the algorithm
        state_N = keys_N + counter * _GOLDEN_GAMMA
        state_N = (state_N ^ (state_N >> np.uint64(30))) * _MIX_1
        state_N = (state_N ^ (state_N >> np.uint64(27))) * _MIX_2
    state_N ^= state_N >> np.uint64(31)
    return (state_N >> np.uint64(11)).astype(np.float64) * 2.0**-53
