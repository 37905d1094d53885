"""Causal attention in bf16 on a CPU as matrix products and one softmax pass, faster there than torch's own kernel.

torch's flash kernel for CPUs takes more of a bf16 step than the layers' matrices do. Here the scores of a block of
queries are one batched product with the keys they may see, become probabilities in place, and are kept for the backward
pass.

Shapes: G groups (samples x heads), S positions, Q queries of a block, K keys that they may see, D channels of a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import rows

MAX_POSITIONS = 1024
"""Beyond this the probabilities, 2 bytes for each query and key, take more memory than they are worth."""

_BLOCK = 256
"""Queries at a time: keys that are later than all of them are left out of the products."""


def is_faster_here(query: Tensor) -> bool:
    """Whether `causal_attention` is for queries like these, [..., S, D]; else torch's own kernel is."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[-2] <= MAX_POSITIONS


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query_GSD: Tensor, key_GSD: Tensor, value_GSD: Tensor) -> Tensor:
        scale = 1 / math.sqrt(query_GSD.shape[-1])
        attended_GSD = torch.empty_like(query_GSD)
        blocks = []
        for first in range(0, query_GSD.shape[1], _BLOCK):
            last = min(first + _BLOCK, query_GSD.shape[1])
            scores_GQK = torch.bmm(query_GSD[:, first:last], key_GSD[:, :last].transpose(1, 2))
            rows.causal_softmax(scores_GQK.flatten(0, 1), num_queries=last - first, first_key=first, scale=scale)
            attended_GSD[:, first:last] = torch.bmm(scores_GQK, value_GSD[:, :last])
            blocks.append(scores_GQK)
        ctx.save_for_backward(query_GSD, key_GSD, value_GSD, *blocks)
        return attended_GSD

    @staticmethod
    def backward(ctx: Any, gradient_GSD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query_GSD, key_GSD, value_GSD, *blocks = ctx.saved_tensors
        scale = 1 / math.sqrt(query_GSD.shape[-1])
        gradient_GSD = gradient_GSD.contiguous()
        query_gradient = torch.empty_like(query_GSD)
        # Sums over blocks of queries, in fp32.
        key_gradient, value_gradient = (torch.zeros_like(x, dtype=torch.float32) for x in (key_GSD, value_GSD))
        for number, probabilities_GQK in enumerate(blocks):
            first = number * _BLOCK
            last = first + probabilities_GQK.shape[1]
            given_GQD = gradient_GSD[:, first:last]
            value_gradient[:, :last] += torch.bmm(probabilities_GQK.transpose(1, 2), given_GQD)
            scores_GQK = torch.bmm(given_GQD, value_GSD[:, :last].transpose(1, 2))
            rows.causal_softmax_gradient(
                probabilities_GQK.flatten(0, 1),
                scores_GQK.flatten(0, 1),
                num_queries=last - first,
                first_key=first,
                scale=scale,
            )
            query_gradient[:, first:last] = torch.bmm(scores_GQK, key_GSD[:, :last])
            key_gradient[:, :last] += torch.bmm(scores_GQK.transpose(1, 2), query_GSD[:, first:last])
        return query_gradient, key_gradient.to(key_GSD.dtype), value_gradient.to(value_GSD.dtype)


def causal_attention(query_BASD: Tensor, key_BASD: Tensor, value_BASD: Tensor) -> Tensor:
    """[B, A, S, D]: each position's attention to those up to its own, scores scaled by 1 / sqrt(D)."""
    flat = (x.flatten(0, 1).contiguous() for x in (query_BASD, key_BASD, value_BASD))
    return _CausalAttention.apply(*flat).view_as(query_BASD)
