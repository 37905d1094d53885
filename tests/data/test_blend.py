from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.data import blend as blending
from megatron_codex.data.batch import Batch
from megatron_codex.data.blend import BlendedSource
from megatron_codex.errors import InputError


class Numbered:
    """Samples whose first token is base + index."""

    def __init__(self, base: int, length: int) -> None:
        self.base, self.length = base, length

    def __len__(self) -> int:
        return self.length

    def sequence_length(self, indices: Sequence[int]) -> int:
        return 2

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        tokens = np.full((len(indices), seq_length), self.base, np.int64) + np.asarray(indices)[:, None]
        return Batch(tokens=tokens, labels=tokens, loss_mask=np.ones(tokens.shape, np.float32), position_ids=tokens)

    def fingerprint(self) -> str:
        return f"{self.base} {self.length}"


def tokens_of(blend: BlendedSource) -> list[int]:
    return [int(token) for token in blend.batch(range(len(blend)), seq_length=2).tokens[:, 0]]


def test_an_epoch_holds_every_sample_and_the_wanted_shares() -> None:
    blend = BlendedSource([Numbered(0, 10), Numbered(1000, 40)], weights=[4, 1], seed=3)
    counts = Counter(tokens_of(blend))
    assert len(blend) == 200
    assert all(counts[index] == 16 for index in range(10))
    assert all(counts[1000 + index] == 1 for index in range(40))


def test_a_repeated_source_comes_in_another_order_each_time() -> None:
    blend = BlendedSource([Numbered(0, 50), Numbered(1000, 50)], weights=[2, 1], seed=3)
    tokens = [token for token in tokens_of(blend) if token < 1000]
    assert tokens[:50] != tokens[50:100]
    assert sorted(tokens[:50]) == sorted(tokens[50:100])


def test_the_next_epoch_comes_in_another_order() -> None:
    blend = BlendedSource([Numbered(0, 30), Numbered(1000, 10)], weights=[3, 1], seed=3)
    first, second = (blend.batch(range(start, start + 40), seq_length=2).tokens[:, 0].tolist() for start in (0, 40))
    assert first != second
    assert sorted(first) == sorted(second)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 60), st.floats(0.01, 100)), min_size=1, max_size=9))
def test_every_beginning_of_the_run_holds_the_wanted_shares(parts: list[tuple[int, float]]) -> None:
    """Of n samples each source has its share to within half a sample for each halving of the sources."""
    sources = [Numbered(1000 * number, length) for number, (length, _) in enumerate(parts)]
    blend = BlendedSource(sources, weights=[weight for _, weight in parts], seed=3)
    shares = np.array(blend.num_samples) / len(blend)
    counts = np.zeros(len(parts))
    for index in range(min(len(blend) + 200, 1500)):
        counts[blend._locate(index)[0]] += 1
        assert (np.abs(counts - shares * (index + 1)) <= np.ceil(np.log2(len(parts))) / 2 + 1e-6).all()
        if index + 1 == len(blend):
            assert counts.tolist() == blend.num_samples


def test_large_blends_are_exact() -> None:
    """2e12 samples and any position of them, without an array: shares to the sample, sources in their own ranges."""
    blend = BlendedSource([Numbered(0, 10**12), Numbered(0, 10**9), Numbered(0, 7)], weights=[0.5, 0.4, 0.1], seed=3)
    assert blend.num_samples[0] == 10**12
    exact = [Fraction(weight) / Fraction(0.5) * 10**12 for weight in (0.5, 0.4, 0.1)]
    assert all(abs(count - share) <= Fraction(1, 2) for count, share in zip(blend.num_samples, exact, strict=True))
    for start in (0, 10**9, len(blend) - 1000, 10**15):
        numbers = Counter(blend._locate(start + index)[0] for index in range(1000))
        assert [abs(numbers[number] - share) <= 2 for number, share in enumerate((500, 400, 100))] == [True] * 3
    tokens = blend.batch(range(10**12, 10**12 + 50), seq_length=2).tokens[:, 0]
    assert tokens.max() > 2**31 and tokens.min() < 7


def test_rows_come_in_the_order_of_the_indices() -> None:
    blend = BlendedSource([Numbered(0, 5), Numbered(1000, 5)], weights=[1, 1], seed=3)
    tokens = tokens_of(blend)
    picked = blend.batch([7, 0, 9], seq_length=2).tokens[:, 0].tolist()
    assert picked == [tokens[7], tokens[0], tokens[9]]


def test_the_fingerprint_tells_weights_seeds_and_sources_apart() -> None:
    sources = [Numbered(0, 5), Numbered(1000, 5)]
    prints = {
        BlendedSource(sources, weights=[1, 1], seed=3).fingerprint(),
        BlendedSource(sources, weights=[2, 1], seed=3).fingerprint(),
        BlendedSource(sources, weights=[1, 1], seed=4).fingerprint(),
        BlendedSource(sources[::-1], weights=[1, 1], seed=3).fingerprint(),
    }
    assert len(prints) == 4


def test_data_mixed_by_another_rule_are_other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    source = BlendedSource([Numbered(0, 5)], weights=[1], seed=3)
    now = source.fingerprint()
    monkeypatch.setattr(blending, "_RULE", 1)
    assert source.fingerprint() != now


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1], [1, float("nan")], [1, float("inf")]], ids=str)
def test_weights_that_are_none_are_bad_input(weights: list[float]) -> None:
    with pytest.raises(InputError, match="one a data set"):
        BlendedSource([Numbered(0, 5), Numbered(1000, 5)], weights=weights, seed=3)
