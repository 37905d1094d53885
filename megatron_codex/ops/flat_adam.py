"""AdamW (arXiv 1711.05101) over one flat buffer of many tensors: the kernels of csrc/kernels/flat_adam.cu, or torch.

In: flat gradients, fp32 weights and Adam's means. Out, in place: clipped, decayed and stepped weights, and their
low-precision copy, in one pass that a gradient of inf or NaN leaves out. In turn: square_sum, an all-reduce over the
ranks that share the parameters, plan, step. Nothing waits for the GPU. In torch the arithmetic is that of
torch.optim.AdamW's plain form, operation by operation.

Shapes: N elements, S segments (the tensors, one after the other).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import reference
from megatron_codex.ops.registered import register

PLAN_SIZE = 5
"""fp32 values of a plan: what gradients are multiplied with; lr / (1 - beta1^step); sqrt(1 - beta2^step); 1 where the
step is skipped; the norm before clipping (csrc/kernels/flat_adam.h)."""

_BLOCK = 1 << 16
"""Elements that are updated at a time, so that the passes over them find them in the cache."""


def flat_adam_square_sum(gradients_N: Tensor) -> Tensor:
    """[1] fp64, the sum of squares; inf or NaN where a gradient is."""
    square_sum: Tensor = _square_sum(gradients_N)
    return square_sum


def flat_adam_plan_(
    square_sum: Tensor,
    step: Tensor,
    plan: Tensor,
    *,
    gradient_scale: float = 1.0,
    clip_grad: float,
    lr: float,
    betas: tuple[float, float],
) -> None:
    """Write plan [PLAN_SIZE] fp32 and count up step [1] int64, unless square_sum [1] fp64 is not finite.

    gradient_scale: of every gradient. clip_grad: largest norm after scaling; 0: no clipping.
    """
    _plan(square_sum, step, plan, gradient_scale, clip_grad, lr, *betas)


def flat_adam_step_(
    gradients_N: Tensor,
    master_N: Tensor,
    exp_avg_N: Tensor,
    exp_avg_sq_N: Tensor,
    parameters_N: Tensor | None,
    *,
    segment_ends_S: Tensor,
    weight_decays_S: Tensor,
    plan: Tensor,
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """One step, in place. parameters_N: the low-precision copy to write, or none. segment_ends_S: int64, the last is
    N."""
    buffers = (gradients_N, master_N, exp_avg_N, exp_avg_sq_N, parameters_N)
    _step(*buffers, segment_ends_S, weight_decays_S, plan, lr, *betas, eps)


def _reference_square_sum(gradients_N: Tensor) -> Tensor:
    # Block by block: an fp64 copy of the whole buffer would be as large as Adam's means.
    blocks = [reference.flat_adam_square_sum(block) for block in gradients_N.split(_BLOCK)]
    return torch.stack(blocks).sum().view(1) if blocks else gradients_N.new_zeros(1, dtype=torch.float64)


def _reference_plan(
    square_sum: Tensor,
    step: Tensor,
    plan: Tensor,
    gradient_scale: float,
    clip_grad: float,
    lr: float,
    beta1: float,
    beta2: float,
) -> None:
    how = {"gradient_scale": gradient_scale, "clip_grad": clip_grad, "lr": lr, "beta1": beta1, "beta2": beta2}
    plan.copy_(reference.flat_adam_plan(square_sum, step, **how))


def _reference_step(
    gradients_N: Tensor,
    master_N: Tensor,
    exp_avg_N: Tensor,
    exp_avg_sq_N: Tensor,
    parameters_N: Tensor | None,
    segment_ends_S: Tensor,
    weight_decays_S: Tensor,
    plan: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    begin = 0
    for number, end in enumerate(segment_ends_S.tolist()):
        for first in range(begin, end, _BLOCK):
            here = slice(first, min(first + _BLOCK, end))
            reference.flat_adam_step(
                gradients_N[here],
                master_E=master_N[here],
                exp_avg_E=exp_avg_N[here],
                exp_avg_sq_E=exp_avg_sq_N[here],
                parameters_E=None if parameters_N is None else parameters_N[here],
                segment_ends_S=torch.tensor([here.stop - here.start]),
                weight_decays_S=weight_decays_S[number : number + 1],
                plan=plan,
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                eps=eps,
            )
        begin = end


def _nothing(*arguments: Any) -> None:
    """What an operation in place gives for tensors without content."""


_square_sum = register(
    "flat_adam_square_sum(Tensor gradients) -> Tensor",
    reference=_reference_square_sum,
    fake=lambda gradients: gradients.new_empty(1, dtype=torch.float64),
)
_plan = register(
    "flat_adam_plan_(Tensor square_sum, Tensor(a!) step, Tensor(b!) plan, float gradient_scale, float clip_grad,"
    " float lr, float beta1, float beta2) -> ()",
    reference=_reference_plan,
    fake=_nothing,
)
_step = register(
    "flat_adam_step_(Tensor gradients, Tensor(a!) master, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq,"
    " Tensor(d!)? parameters, Tensor segment_ends, Tensor weight_decays, Tensor plan, float lr, float beta1,"
    " float beta2, float eps) -> ()",
    reference=_reference_step,
    fake=_nothing,
)
