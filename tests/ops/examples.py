"""Inputs of every registered operation, small and odd, shared by the tests of registration and of the kernels on a
GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Arguments = tuple[Any, ...]
BETAS = (0.9, 0.95)


class Drawn:
    """Tensors from one seed, on one device, in one dtype; those that gradients are taken of want them."""

    def __init__(self, dtype: torch.dtype, device: str, *, differentiable: bool = True) -> None:
        self.dtype, self.device, self.differentiable = dtype, device, differentiable
        self.wide = torch.float64 if dtype == torch.float64 else torch.float32
        self._draw = torch.Generator().manual_seed(3)

    def leaf(self, *shape: int) -> Tensor:
        return self.plain(*shape).requires_grad_(self.differentiable)

    def plain(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        drawn = torch.randn(shape, generator=self._draw, dtype=torch.float64)
        return drawn.to(self.device, dtype or self.dtype)

    def whole(self, *values: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device)


def _flat_adam(of: Drawn) -> Arguments:
    num_elements = 29
    buffers = [of.plain(num_elements, dtype=of.wide) for _ in range(3)]
    buffers[2].square_()
    plan = torch.tensor([0.7, 1e-2, 0.4, 0.0, 1.0], device=of.device)
    decays = torch.tensor([0.1, 0.0], device=of.device)
    parameters = of.plain(num_elements)
    ends = of.whole(8, num_elements)
    return (of.plain(num_elements, dtype=of.wide), *buffers, parameters, ends, decays, plan, 1e-2, *BETAS, 1e-8)


def _rows(of: Drawn) -> tuple[Tensor, Tensor]:
    """(the labels of five rows, one of them of another rank; which rows count)"""
    return of.whole(0, 6, -3, 2, 4), of.whole(1, 1, 1, 0, 1, dtype=torch.bool)


EXAMPLES: dict[str, Callable[[Drawn], Arguments]] = {
    "bias_gelu": lambda of: (of.leaf(3, 5), of.leaf(5)),
    "bias_gelu_gradient": lambda of: (of.plain(3, 5), of.plain(5), of.plain(3, 5)),
    "layer_norm": lambda of: (of.leaf(2, 3, 10), of.leaf(10), of.leaf(10), 1e-5),
    "layer_norm_gradient": lambda of: (
        *(of.plain(6, 10), of.plain(10), of.plain(6, dtype=of.wide), of.plain(6, dtype=of.wide).abs()),
        of.plain(6, 10),
    ),
    "causal_softmax": lambda of: (of.leaf(2, 2, 3, 5), of.whole(1, 0, dtype=torch.int32), 2, 3, 0.3),
    "causal_softmax_gradient": lambda of: (
        *(of.plain(2, 2, 3, 5).softmax(-1), of.plain(2, 2, 3, 5)),
        *(of.whole(4, 0, dtype=torch.int32), 2, 0, 0.3),
    ),
    "ce_pieces": lambda of: (of.plain(5, 9), *_rows(of), 7),
    "ce_rescale_": lambda of: tuple(of.plain(*shape, dtype=of.wide) for shape in ((2, 5), (5,), (5,))),
    # No label outside the vocabulary: its loss is NaN, which equals nothing.
    "ce_loss": lambda of: (
        *(of.plain(5, dtype=of.wide), of.plain(2, 5, dtype=of.wide).abs()),
        *(of.whole(0, 6, 3, 2, 4), _rows(of)[1], 9),
    ),
    "ce_gradient_": lambda of: (
        *(of.plain(5, 9), *_rows(of)),
        *(of.plain(5, dtype=of.wide).abs(), of.plain(5, dtype=of.wide), 7),
    ),
    "ce_at_once_": lambda of: (*(of.plain(5, 9), of.whole(0, 6, 3, 2, 4)), *(of.plain(5, dtype=of.wide), 7)),
    "cross_entropy": lambda of: (of.leaf(5, 9), of.whole(0, 6, 3, 2, 4), _rows(of)[1], 7),
    "cross_entropy_gradient": lambda of: (
        *(of.plain(5, 9), *_rows(of)),
        *(of.plain(5, dtype=of.wide).abs(), of.plain(5, dtype=of.wide), 7),
    ),
    "decode_suffix": lambda of: (
        *(of.plain(3, 2, 64), of.plain(3, 4, 2, 64), of.plain(3, 4, 2, 64)),
        *(of.whole(4, 0, 2, dtype=torch.int32), 3, 0.125),
    ),
    "shared_prefix_attention": lambda of: (
        *(of.plain(3, 2, 64), of.plain(2, 2, 64, 5), of.plain(2, 2, 5, 64)),
        *(of.whole(5, 3, dtype=torch.int32), of.whole(0, 0, 1), of.whole(0, 1, 0), 2),
        *(of.plain(3, 4, 2, 64), of.plain(3, 4, 2, 64), of.whole(4, 0, 2, dtype=torch.int32), 4, 0.125),
    ),
    "merge_attn_states": lambda of: (
        *(of.plain(3, 2, 8), of.plain(3, 2, dtype=of.wide)),
        *(of.plain(3, 2, 8), of.plain(3, 2, dtype=of.wide)),
    ),
    "flat_adam_square_sum": lambda of: (of.plain(29, dtype=of.wide),),
    "flat_adam_plan_": lambda of: (
        *(torch.tensor([4.0], dtype=torch.float64, device=of.device), of.whole(3)),
        *(torch.zeros(5, device=of.device), 0.5, 0.7, 1e-3, *BETAS),
    ),
    "flat_adam_step_": _flat_adam,
}
"""Of each operation, by name."""

DIFFERENTIABLE = ("bias_gelu", "layer_norm", "causal_softmax", "cross_entropy")

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Of the largest value, a kernel against its reference: sums in another order and a faster exponential; a rounding or
two of 8 and 11 bits."""


def tensors_of(outputs: Any, arguments: Arguments) -> list[Tensor]:
    """What a call has made: its outputs, and its arguments, some of which are written."""
    returned = [outputs] if isinstance(outputs, Tensor) else list(outputs or ())
    return [*returned, *(value for value in arguments if isinstance(value, Tensor))]


def assert_close(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Equal within `tolerance` times the largest value; infinities and NaN where the other has them."""
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    mine, reference = got.double(), wanted.double()
    finite = reference.isfinite()
    assert torch.equal(mine[~finite].nan_to_num(7.0), reference[~finite].nan_to_num(7.0))
    difference, largest = (mine - reference)[finite].abs(), reference[finite].abs()
    assert not len(largest) or difference.max() <= tolerance * max(1e-3, float(largest.max()))
