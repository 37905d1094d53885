"""Bootstrap intervals over problems: problems are what a benchmark is a sample of.

In: a value for each problem. Out: mean, low and high. Two columns measured on the same problems are compared by the
interval of their difference, for which the same problems are drawn.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
_NUM_RESAMPLES = 2000

Floats = npt.NDArray[np.float64]


def draw_problems(num_problems: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Indices of resampled sets of problems: [resamples, num_problems]."""
    return np.random.default_rng(seed).integers(0, num_problems, (_NUM_RESAMPLES, num_problems))


def mean_interval(values: Floats, draws: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Mean, low and high over problems of [problems] or [problems, columns]; draws: as draw_problems gives them."""
    resampled = values[draws].mean(axis=1)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return values.mean(axis=0), low, high
