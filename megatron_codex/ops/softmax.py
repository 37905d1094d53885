"""Softmax of attention scores, causal, in a band, without left padding: the kernel of csrc/kernels/causal_softmax.cu,
C++ on a CPU for what is plainly causal, or torch.

In: scores [B, A, Q, K] of queries that stand at keys first_key .. first_key + Q - 1. Out: probabilities,
differentiable. A query sees the keys up to its own, the last `window` of them (0: all), and none of the first
left_padding[b]; one that sees none gets zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import rows
from megatron_codex.ops.registered import register, wide


def causal_softmax(
    scores_BAQK: Tensor, *, left_padding_B: Tensor | None = None, first_key: int = 0, window: int = 0, scale: float
) -> Tensor:
    """softmax(scale * score) over the keys seen, 0 elsewhere; the dtype of the scores. left_padding_B: int32."""
    return _causal_softmax(scores_BAQK, left_padding_B, first_key, window, scale)


def unseen_keys(scores_BAQK: Tensor, left_padding_B: Tensor | None, first_key: int, window: int) -> Tensor:
    """[B or 1, 1, Q, K]: True where the query does not see the key."""
    num_queries, num_keys = scores_BAQK.shape[2:]
    query_Q1 = first_key + torch.arange(num_queries, device=scores_BAQK.device)[:, None]
    key_1K = torch.arange(num_keys, device=scores_BAQK.device)[None, :]
    hidden_QK = key_1K > query_Q1
    if window:
        hidden_QK = hidden_QK | (key_1K <= query_Q1 - window)
    hidden_BAQK = hidden_QK[None, None]
    return hidden_BAQK if left_padding_B is None else hidden_BAQK | (key_1K < left_padding_B[:, None, None, None])


def _forward(scores_BAQK: Tensor, left_padding_B: Tensor | None, first_key: int, window: int, scale: float) -> Tensor:
    hidden_BAQK = unseen_keys(scores_BAQK, left_padding_B, first_key, window)
    probabilities = (wide(scores_BAQK) * scale).masked_fill(hidden_BAQK, -torch.inf).softmax(-1)
    # Of no keys softmax makes NaN.
    return probabilities.masked_fill(hidden_BAQK, 0.0).to(scores_BAQK.dtype).contiguous()


def _forward_cpu(
    scores_BAQK: Tensor, left_padding_B: Tensor | None, first_key: int, window: int, scale: float
) -> Tensor:
    if left_padding_B is not None or window or not rows.takes(scores_BAQK):
        return _forward(scores_BAQK, left_padding_B, first_key, window, scale)
    probabilities = scores_BAQK.clone(memory_format=torch.contiguous_format)
    num_queries = scores_BAQK.shape[2]
    if probabilities.numel():
        rows.causal_softmax(probabilities.flatten(0, 2), num_queries=num_queries, first_key=first_key, scale=scale)
    return probabilities


def _backward(
    probabilities_BAQK: Tensor,
    gradient_BAQK: Tensor,
    left_padding_B: Tensor | None,
    first_key: int,
    window: int,
    scale: float,
) -> Tensor:
    hidden_BAQK = unseen_keys(probabilities_BAQK, left_padding_B, first_key, window)
    wide_p, given = wide(probabilities_BAQK), wide(gradient_BAQK).masked_fill(hidden_BAQK, 0.0)
    mean = (wide_p * given).sum(-1, keepdim=True)
    gradient = (wide_p * (given - mean) * scale).masked_fill(hidden_BAQK, 0.0)
    return gradient.to(probabilities_BAQK.dtype).contiguous()


def _backward_cpu(
    probabilities_BAQK: Tensor,
    gradient_BAQK: Tensor,
    left_padding_B: Tensor | None,
    first_key: int,
    window: int,
    scale: float,
) -> Tensor:
    if left_padding_B is not None or window or not rows.takes(probabilities_BAQK):
        return _backward(probabilities_BAQK, gradient_BAQK, left_padding_B, first_key, window, scale)
    gradient = gradient_BAQK.clone(memory_format=torch.contiguous_format)
    if gradient.numel():
        rows.causal_softmax_gradient(
            probabilities_BAQK.contiguous().flatten(0, 2),
            gradient.flatten(0, 2),
            num_queries=gradient.shape[2],
            first_key=first_key,
            scale=scale,
        )
    return gradient


def _fake(scores_BAQK: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(scores_BAQK, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, left_padding_B, *ctx.how = inputs
    ctx.save_for_backward(output, left_padding_B)


def _gradients(ctx: Any, gradient_BAQK: Tensor) -> tuple[Tensor | None, ...]:
    probabilities_BAQK, left_padding_B = ctx.saved_tensors
    gradient = _causal_softmax_gradient(probabilities_BAQK, gradient_BAQK, left_padding_B, *ctx.how)
    return gradient, None, None, None, None


_causal_softmax = register(
    "causal_softmax(Tensor scores, Tensor? left_padding, int first_key, int window, float scale) -> Tensor",
    reference=_forward,
    cpu=_forward_cpu,
    fake=_fake,
    setup_context=_keep,
    backward=_gradients,
)
_causal_softmax_gradient = register(
    "causal_softmax_gradient(Tensor probabilities, Tensor gradient, Tensor? left_padding, int first_key, int window,"
    " float scale) -> Tensor",
    reference=_backward,
    cpu=_backward_cpu,
    fake=_fake,
)
