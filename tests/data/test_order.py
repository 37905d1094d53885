from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.data.order import ShuffledOrder
from megatron_codex.errors import InputError


@given(st.integers(1, 500), st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_every_epoch_is_a_permutation(num_samples: int, seed: int, epoch: int) -> None:
    order = ShuffledOrder(num_samples, seed)
    first = epoch * num_samples
    assert sorted(map(order, range(first, first + num_samples))) == list(range(num_samples))


def test_the_order_never_changes() -> None:
    """Golden: a run resumed with another version of the code must see the same samples."""
    assert list(map(ShuffledOrder(10, seed=1234), range(20))) == GOLDEN


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
