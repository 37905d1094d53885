"""The output layer and its cross entropy in one: logits are made once, in the model's dtype, and become gradients.

In: hidden states, the output weight's shard of the vocabulary, labels. Out: each row's loss, fp32. The forward pass
keeps the logits and the backward pass overwrites them; torch's own cross entropy makes fp32 copies, several times their
size. With tensor parallelism each rank has some columns: two small all-reduces join their maxima and sums. A rank that
has all columns need not wait for the others': on a CPU its forward pass leaves the gradients of losses whose own
gradient is 1, and the backward pass multiplies the small sides of its two products by the true one.

Shapes: N rows, H hidden, V columns of the vocabulary on this tensor-parallel rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_codex.ops import rows
from megatron_codex.ops.cross_entropy import REGISTERED, CrossEntropy
from megatron_codex.platform.cpu import by_narrow_columns


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        labels_N: Tensor,
        true_columns: int,
        tp_group: dist.ProcessGroup | None,
        parts: CrossEntropy,
    ) -> Tensor:
        logits_NV = torch.mm(hidden_NH, weight_VH.t())
        ctx.unit_gradients = tp_group is None and any(ctx.needs_input_grad) and _gains_at_once(logits_NV, parts)
        if ctx.unit_gradients:
            assert parts.at_once is not None
            ones_N = torch.ones_like(labels_N, dtype=torch.float32)
            largest_N, sums_2N = parts.at_once(logits_NV, labels_N, ones_N, true_columns)
        else:
            largest_N, sums_2N = parts.pieces(logits_NV, labels_N, None, true_columns)
        if tp_group is not None:
            local_N = largest_N.clone()
            dist.all_reduce(largest_N, op=dist.ReduceOp.MAX, group=tp_group)
            parts.rescale(sums_2N, local_N, largest_N)
            dist.all_reduce(sums_2N, group=tp_group)
        log_sums_N = largest_N + sums_2N[0].log()
        ctx.save_for_backward(hidden_NH, weight_VH, labels_N, log_sums_N)
        ctx.logits_NV, ctx.true_columns, ctx.parts = logits_NV, true_columns, parts
        return log_sums_N - sums_2N[1]

    @staticmethod
    def backward(ctx: Any, gradients_N: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        hidden_NH, weight_VH, labels_N, log_sums_N = ctx.saved_tensors
        logits_NV, ctx.logits_NV = ctx.logits_NV, None
        assert logits_NV is not None, "the logits were overwritten by the first backward pass"
        if ctx.unit_gradients:
            of_hidden_NH = torch.mm(logits_NV, weight_VH).mul_(gradients_N[:, None])
            hidden_NH = (hidden_NH * gradients_N[:, None]).to(hidden_NH.dtype)
        else:
            ctx.parts.gradient(logits_NV, labels_N, None, log_sums_N, gradients_N.contiguous(), ctx.true_columns)
            of_hidden_NH = torch.mm(logits_NV, weight_VH)
        gradient_NV, hidden_NH = by_narrow_columns(logits_NV, hidden_NH)
        return of_hidden_NH, torch.mm(gradient_NV.t(), hidden_NH), None, None, None, None


def _gains_at_once(logits_NV: Tensor, parts: CrossEntropy) -> bool:
    return parts.at_once is not None and logits_NV.device.type == "cpu" and rows.takes(logits_NV)


def linear_cross_entropy(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    labels_N: Tensor,
    *,
    true_columns: int,
    tp_group: dist.ProcessGroup | None,
    parts: CrossEntropy = REGISTERED,
) -> Tensor:
    """Loss of each row, [N] fp32. The hidden states' gradient is this rank's part: the caller sums it over tp_group.

    labels_N: columns of this rank's shard; those below 0 or from true_columns on are other ranks'.
    true_columns: columns that are not padding.
    tp_group: the ranks that share the vocabulary; None: this one has all of it.
    parts: whose row-wise functions; ops/choice.py chooses.
    """
    return _LinearCrossEntropy.apply(hidden_NH, weight_VH, labels_N.long(), true_columns, tp_group, parts)
