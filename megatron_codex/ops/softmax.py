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

from megatron_codex.ops import reference, rows
from megatron_codex.ops.registered import register


def causal_softmax(
    scores_BAQK: Tensor, *, left_padding_B: Tensor | None = None, first_key: int = 0, window: int = 0, scale: float
) -> Tensor:
    """softmax(scale * score) over the keys seen, 0 elsewhere; the dtype of the scores. left_padding_B: of integers.

    Raises: ValueError for shapes that do not fit.
    """
    _check(scores_BAQK, left_padding_B, first_key, window)
    padding_B = None if left_padding_B is None else left_padding_B.to(torch.int32)
    return _causal_softmax(scores_BAQK, padding_B, first_key, window, scale)


def _check(scores_BAQK: Tensor, left_padding_B: Tensor | None, first_key: int, window: int) -> None:
    if scores_BAQK.dim() != 4:
        given = tuple(scores_BAQK.shape)
        raise ValueError(f"causal_softmax: scores must be [samples, heads, queries, keys]; their shape is {given}")
    for name, value in (("first_key", first_key), ("window", window)):
        if value < 0:
            raise ValueError(f"causal_softmax: {name} must be 0 or more; it is {value}")
    if left_padding_B is not None and left_padding_B.shape != scores_BAQK.shape[:1]:
        rule = f"left_padding must be one for each of {len(scores_BAQK)} samples"
        raise ValueError(f"causal_softmax: {rule}; it is {tuple(left_padding_B.shape)}")


def _forward(scores_BAQK: Tensor, left_padding_B: Tensor | None, first_key: int, window: int, scale: float) -> Tensor:
    return reference.banded_softmax(
        scores_BAQK, left_padding_B, first_key=first_key, window=window, scale=scale
    ).contiguous()


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
    return reference.banded_softmax_gradient(
        probabilities_BAQK, gradient_BAQK, left_padding_B, first_key=first_key, window=window, scale=scale
    ).contiguous()


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
