"""Temperature, top-p and log p: the exact distribution, never a token outside the nucleus."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from megatron_codex.sampling.noise import sample_key, uniform
from megatron_codex.sampling.nucleus import choose_tokens

NUM_DRAWS = 40_000


def _draws(logits: list[float], *, temperature: float, top_p: float, seed: int = 0) -> npt.NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    keys = generator.integers(0, 2**63, NUM_DRAWS, dtype=np.uint64)
    rows = torch.tensor(logits).expand(NUM_DRAWS, -1)
    tokens, _ = choose_tokens(
        rows, temperature=temperature, top_p=top_p, uniform=lambda draw: uniform(keys, position=0, draw=draw)
    )
    counted: npt.NDArray[np.int64] = np.bincount(tokens.numpy(), minlength=len(logits))
    return counted


def _nucleus(logits: list[float], *, temperature: float, top_p: float) -> npt.NDArray[np.float64]:
    """Sort, cut, renormalise: the textbook's way."""
    weights = np.exp((np.array(logits) - max(logits)) / temperature)
    probs = weights / weights.sum()
    order = np.argsort(-probs, kind="stable")
    before = np.cumsum(probs[order]) - probs[order]
    kept = np.where(np.isin(np.arange(len(probs)), order[before < top_p]), probs, 0.0)
    return kept / kept.sum()


@pytest.mark.parametrize(
    ("temperature", "top_p"),
    [(1.0, 1.0), (0.8, 0.95), (1.0, 0.5), (2.0, 0.7), (1.0, 0.05)],
    ids=["whole distribution", "the paper's", "half", "hot", "small nucleus: drawn from the sorted one"],
)
def test_draws_follow_the_renormalised_nucleus(temperature: float, top_p: float) -> None:
    logits = np.random.default_rng(1).normal(0, 1.5, 60).round(3).tolist()
    if top_p == 0.05:
        logits = np.linspace(0, 0.5, 60).tolist()  # so flat that most rows are still outside after all redraws
    expected = _nucleus(logits, temperature=temperature, top_p=top_p)
    counted = _draws(logits, temperature=temperature, top_p=top_p)
    assert counted[expected == 0].sum() == 0
    # Chi-square over the nucleus: mean = degrees of freedom, 5 standard deviations above it is one run in millions.
    inside = expected > 0
    chi_square = ((counted[inside] - NUM_DRAWS * expected[inside]) ** 2 / (NUM_DRAWS * expected[inside])).sum()
    freedom = max(1, inside.sum() - 1)
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


def test_a_vocabulary_of_several_blocks_is_drawn_from_as_the_textbook_does() -> None:
    """1300 tokens, of which the second 512 are impossible: the same tokens by the same numbers, redraws included."""
    logits = np.random.default_rng(3).normal(0, 2, (200, 1300)).astype(np.float32)
    logits[:, 512:1024] = -np.inf
    keys = np.arange(200, dtype=np.uint64) * np.uint64(977)
    tokens, _ = choose_tokens(
        torch.from_numpy(logits), temperature=0.8, top_p=0.6, uniform=lambda draw: uniform(keys, position=5, draw=draw)
    )
    redrawn = 0
    for row, token in enumerate(tokens.tolist()):
        weights = np.exp((logits[row].astype(np.float64) - logits[row].max()) / 0.8)
        for draw in range(8):
            number = uniform(keys[row : row + 1], position=5, draw=draw)[0] * weights.sum()
            expected = int(np.searchsorted(weights.cumsum(), number, side="right"))
            if weights[weights > weights[expected]].sum() < 0.6 * weights.sum():
                break
            redrawn += 1
        else:
            continue  # drawn from the sorted nucleus, which the test above covers
        assert token == expected
    assert redrawn > 50


def test_a_likely_token_outside_the_nucleus_is_never_drawn() -> None:
    """0.55, 0.44, 0.01 with p = 0.5: the first alone reaches the mass."""
    counted = _draws(np.log([0.55, 0.44, 0.01]).tolist(), temperature=1.0, top_p=0.5)
    assert counted.tolist() == [NUM_DRAWS, 0, 0]


def test_equally_likely_tokens_are_in_the_nucleus_together() -> None:
    counted = _draws([0.0, 0.0, 0.0, 0.0, -30.0], temperature=1.0, top_p=0.3)
    assert counted[4] == 0 and counted[:4].min() > NUM_DRAWS / 5


def test_greedy_takes_the_likeliest_and_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [5.0, 1.0, 2.0]])
    tokens, _ = choose_tokens(logits, temperature=0, top_p=0.5, uniform=lambda draw: np.zeros(2))
    assert tokens.tolist() == [1, 0]


@pytest.mark.parametrize("number", [0.0, 1 - 2.0**-53], ids=["smallest", "largest"])
def test_extreme_numbers_never_draw_an_impossible_token(number: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 1.0, -torch.inf]])
    tokens, _ = choose_tokens(logits, temperature=1.0, top_p=1.0, uniform=lambda draw: np.array([number]))
    assert tokens.item() == (1 if number == 0 else 2)


def test_log_p_is_the_models_own_whatever_the_temperature_and_nucleus() -> None:
    logits = torch.randn(64, 30, generator=torch.Generator().manual_seed(0))
    keys = np.arange(64, dtype=np.uint64)
    tokens, logps = choose_tokens(
        logits, temperature=0.3, top_p=0.5, uniform=lambda draw: uniform(keys, position=0, draw=draw)
    )
    expected = torch.log_softmax(logits.double(), dim=-1).gather(1, tokens[:, None])[:, 0]
    torch.testing.assert_close(logps.double(), expected, atol=1e-5, rtol=0)


def test_numbers_are_uniform_and_independent_over_samples_positions_and_draws() -> None:
    keys = np.array([sample_key(0, "task", index) for index in range(2000)], dtype=np.uint64)
    streams = [uniform(keys, position=position, draw=draw) for position in range(3) for draw in range(3)]
    for stream in streams:
        assert stream.min() >= 0 and stream.max() < 1
        histogram = np.histogram(stream, bins=20, range=(0, 1))[0]
        assert ((histogram - 100) ** 2 / 100).sum() < 19 + 5 * np.sqrt(38)
    correlations = np.corrcoef(streams) - np.eye(9)
    assert abs(correlations).max() < 0.1  # 4.5 standard deviations of 2000 pairs


def test_keys_differ_by_seed_task_and_index() -> None:
    keys = {sample_key(seed, task, index) for seed in (0, 1) for task in ("a", "a1") for index in (0, 1, 10)}
    assert len(keys) == 12
