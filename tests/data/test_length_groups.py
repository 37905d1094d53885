"""Samples of like lengths in one batch: still each once an epoch, in an order that depends on the seed alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from megatron_codex.data.length_groups import GROUPED_BATCHES, LengthGroupedOrder
from megatron_codex.data.order import ShuffledOrder


def _lengths(num_samples: int, seed: int = 0) -> NDArray[np.int64]:
    """Prompts of 42 to 280 positions, completions of 18 to 120, each by itself."""
    draw = np.random.default_rng(seed)
    return np.stack([draw.integers(42, 281, num_samples), draw.integers(18, 121, num_samples)], axis=1)


def _padding_share(lengths_N2: NDArray[np.int64], samples: NDArray[np.int64], batch_size: int) -> float:
    batches = lengths_N2[samples].reshape(-1, batch_size, 2)
    return 1 - batches.sum() / (batches.max(axis=1).sum() * batch_size)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(-(2**70), 2**70), st.integers(0, 1000))
def test_every_epoch_is_a_permutation(num_samples: int, batch_size: int, seed: int, epoch: int) -> None:
    order = LengthGroupedOrder(_lengths(num_samples), batch_size=batch_size, seed=seed)
    samples = order(np.arange(epoch * num_samples, (epoch + 1) * num_samples))
    assert sorted(samples.tolist()) == list(range(num_samples))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 300), st.integers(1, 9), st.lists(st.integers(0, 700), min_size=1, max_size=30))
def test_any_position_is_reached_directly(num_samples: int, batch_size: int, positions: list[int]) -> None:
    whole = LengthGroupedOrder(_lengths(num_samples), batch_size=batch_size, seed=5)(np.arange(701))
    alone = LengthGroupedOrder(_lengths(num_samples), batch_size=batch_size, seed=5)
    assert alone(np.array(positions)).tolist() == whole[positions].tolist()


def test_batches_hold_far_less_padding_and_come_in_no_order_of_length() -> None:
    batch_size, num_samples = 16, 16 * GROUPED_BATCHES * 2
    lengths = _lengths(num_samples)
    positions = np.arange(num_samples)
    samples = LengthGroupedOrder(lengths, batch_size=batch_size, seed=1)(positions)
    shuffled = ShuffledOrder(num_samples, 1)(positions)
    assert _padding_share(lengths, shuffled, batch_size) > 0.35
    assert _padding_share(lengths, samples, batch_size) < 0.12
    means = lengths[samples, 0].reshape(-1, batch_size).mean(axis=1)  # what each strip was sorted by
    rising = sum(first < second for first, second in pairwise(means.tolist()))
    assert 40 < rising < 87  # of 127: 64 +- 3.3 (standard error) for a random order


def test_epochs_seeds_and_groups_differ() -> None:
    lengths = _lengths(8 * GROUPED_BATCHES)
    size = len(lengths)
    one, other = (LengthGroupedOrder(lengths, batch_size=4, seed=seed) for seed in (1, 2))
    epochs = [one(np.arange(start, start + size)).tolist() for start in (0, size)]
    assert len({tuple(samples) for samples in (*epochs, other(np.arange(size)).tolist())}) == 3
    # A group keeps the samples that the shuffled order has there: who meets whom changes from epoch to epoch.
    half = 4 * GROUPED_BATCHES
    assert set(epochs[0][:half]) == set(ShuffledOrder(size, 1)(np.arange(half)).tolist()) != set(epochs[1][:half])


def test_the_order_never_changes() -> None:
    """Golden: a run resumed with another version of the code must see the same samples."""
    order = LengthGroupedOrder(_lengths(10), batch_size=3, seed=1234)
    assert order(np.arange(20)).tolist() == GOLDEN


GOLDEN = [1, 9, 0, 7, 5, 6, 8, 3, 4, 2, 4, 0, 7, 5, 6, 8, 3, 2, 9, 1]
