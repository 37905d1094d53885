from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.data.order import ShuffledOrder
from megatron_codex.errors import InputError


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_every_epoch_is_a_permutation(num_samples: int, seed: int, epoch: int) -> None:
    order = ShuffledOrder(num_samples, seed)
    first = epoch * num_samples
    assert sorted(map(order, range(first, first + num_samples))) == list(range(num_samples))


def test_the_order_never_changes() -> None:
    """Golden: a run resumed with another version of the code must see the same samples."""
    assert list(map(ShuffledOrder(10, seed=1234), range(20))) == GOLDEN


@settings(deadline=None)
@given(
    st.one_of(st.integers(1, 2000), st.integers(1, 2**63 - 1)),
    st.integers(-(2**70), 2**70),
    st.lists(st.integers(0, 2**62), max_size=60),
)
def test_many_positions_at_once_give_the_same_samples(num_samples: int, seed: int, positions: list[int]) -> None:
    order = ShuffledOrder(num_samples, seed)
    together = order(np.array(positions, np.int64))
    assert together.dtype == np.int64
    assert together.tolist() == list(map(order, positions))


def test_the_order_of_many_never_changes() -> None:
    """Golden, of a domain that is walked often (10**9 of 4**15) and of positions in several epochs."""
    positions = np.arange(0, 3 * 10**9, 10**8 - 1)
    assert len(positions) > 24  # fewer go one by one
    assert ShuffledOrder(10**9, seed=5)(positions)[::6].tolist() == GOLDEN_MANY


def test_epochs_and_seeds_differ() -> None:
    order, other = ShuffledOrder(100, seed=1), ShuffledOrder(100, seed=2)
    epochs = [tuple(map(order, range(start, start + 100))) for start in (0, 100, 200)]
    assert len({*epochs, tuple(map(other, range(100)))}) == 4


def test_any_position_is_reached_directly() -> None:
    order = ShuffledOrder(10**12, seed=3)
    assert 0 <= order(10**15 + 7) < 10**12
    assert order(10**15 + 7) == ShuffledOrder(10**12, seed=3)(10**15 + 7)


def test_all_permutations_of_a_few_samples_are_equally_likely() -> None:
    """24 permutations of 4 over 24,000 epochs: chi-square with 23 degrees, 49.7 is exceeded once in a thousand."""
    order = ShuffledOrder(4, seed=0)
    counts = Counter(tuple(order(4 * epoch + index) for index in range(4)) for epoch in range(24_000))
    assert len(counts) == 24
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 49.7


def test_neighbours_are_scattered() -> None:
    """Mean distance of neighbours is a third of the range for a random order; 0.333 +- 0.002 (standard error) here."""
    order = ShuffledOrder(20_000, seed=random.Random(0).getrandbits(64))
    values = list(map(order, range(20_000)))
    mean = sum(abs(a - b) for a, b in pairwise(values)) / 20_000 / 20_000
    assert abs(mean - 1 / 3) < 0.01


@pytest.mark.parametrize("num_samples", [0, -1])
def test_no_samples_have_no_order(num_samples: int) -> None:
    with pytest.raises(InputError, match=f"num_samples: got {num_samples}"):
        ShuffledOrder(num_samples, seed=0)


GOLDEN = [9, 0, 7, 1, 8, 4, 6, 3, 5, 2, 4, 0, 3, 6, 8, 2, 7, 5, 9, 1]
GOLDEN_MANY = [382361658, 817070564, 694640099, 442602078, 562445686, 599835193]
