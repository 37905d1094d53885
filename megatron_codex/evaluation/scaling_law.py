"""Loss as a power law of model size: L(N) = (N / N_c) ^ -alpha, fitted by least squares of the logarithms.

Paper section 3 (figure 4): held-out loss falls as (N / 5.92e7) ^ -0.13 in N, the parameters without embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FLAT = 1e-9
"""An exponent that is rounding: N_c would be no number."""


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law."""

    alpha: float
    log_critical: float
    """Natural logarithm of N_c, the parameters at which the loss would be 1 nat."""
    residuals: tuple[float, ...]
    """Of each point, log(its loss / the law's): about its relative error."""

    def loss(self, num_parameters: float) -> float:
        """The law's loss at this size, nats per token."""
        return float(np.exp(-self.alpha * (np.log(num_parameters) - self.log_critical)))


def fit_power_law(num_parameters: Sequence[int], losses: Sequence[float]) -> PowerLaw | None:
    """The law through (parameters, loss) points, or None where the loss does not change with size.

    num_parameters: at least three, not all equal. losses: nats per token, above 0.
    """
    log_sizes, log_losses = np.log(np.asarray(num_parameters, float)), np.log(np.asarray(losses, float))
    assert len(log_sizes) >= 3 and np.ptp(log_sizes) > 0, "three points of two sizes or more"
    slope, intercept = np.polyfit(log_sizes, log_losses, 1)
    if abs(slope) < _FLAT:
        return None
    fitted = slope * log_sizes + intercept
    residuals = tuple(float(value) for value in log_losses - fitted)
    return PowerLaw(alpha=-float(slope), log_critical=float(-intercept / slope), residuals=residuals)
