"""What equal means between a kernel and its oracle: largest differences, in units that the element type has."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""Of 1. fp32: sums in another order; 16 bits: half a unit in the last place, where both round the same fp32 apart."""


def assert_close(got: Tensor, expected: Tensor, *, dtype: torch.dtype | None = None, factor: float = 1.0) -> None:
    """Within `factor` roundings of the largest value; NaN and infinity only where expected.

    factor: 2 where values between are rounded once more in 16 bits; more in fp32 for longer sums.
    """
    assert got.shape == expected.shape
    if not expected.is_floating_point():
        assert torch.equal(got, expected)
        return
    got, wide = got.float(), expected.float()
    assert torch.equal(got.isnan(), wide.isnan()) and torch.equal(got.isinf(), wide.isinf()), "NaN or infinity"
    finite = wide.isfinite()
    if not finite.any():
        return
    largest = max(wide[finite].abs().max().item(), 1e-3)
    apart = (got[finite] - wide[finite]).abs().max().item()
    # twice: a value beside the middle of two 16-bit numbers goes up in one and down in the other
    allowed = 2.0 * factor * ROUNDING[dtype or expected.dtype] * largest
    assert apart <= allowed, f"{apart} apart, {allowed} allowed"


def normal(*shape: int, dtype: torch.dtype, seed: int, scale: float = 1.0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)
