"""Attention of many samples that share a prompt: over the prompt once for all, over each one's own keys, and the two
joined.

In: queries of one new position a sample, the prompt's keys and values, each sample's own. Out: the attended values. The
kernels are csrc/kernels/decode_suffix.cu and merge_attn_states.cu; elsewhere the same in torch.

Shapes: B samples, A heads, D channels of a head, P positions of the prompt, S own positions. lse: log of the sum of
exp(scaled score), fp32, -inf where there are no keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from megatron_codex.ops import reference
from megatron_codex.ops.registered import register, wide, wide_dtype


def decode_suffix(
    queries_BAD: Tensor, keys_BSAD: Tensor, values_BSAD: Tensor, lengths_B: Tensor, *, scale: float, window: int = 0
) -> tuple[Tensor, Tensor]:
    """(attended_BAD, lse_BA) over the first lengths_B[b] positions of each sample, the last `window` of them (0: all).

    lengths_B: int32; 0 gives zeros and -inf. The CUDA kernel is for D of 64, 80 and 128.
    """
    attended_BAD, lse_BA = _decode_suffix(queries_BAD, keys_BSAD, values_BSAD, lengths_B, window, scale)
    return attended_BAD, lse_BA


def merge_attn_states(first: Tensor, first_lse: Tensor, second: Tensor, second_lse: Tensor) -> tuple[Tensor, Tensor]:
    """(merged, its lse): attention over two sets of keys, [..., D] and [...], from the attentions over each."""
    merged, lse = _merge_attn_states(first, first_lse, second, second_lse)
    return merged, lse


def shared_prefix_attention(
    queries_BAD: Tensor,
    prefix_keys_PAD: Tensor,
    prefix_values_PAD: Tensor,
    keys_BSAD: Tensor,
    values_BSAD: Tensor,
    lengths_B: Tensor,
    *,
    scale: float,
) -> Tensor:
    """[B, A, D]: each query's attention to the whole prompt and to its own sample's first lengths_B[b] positions."""
    queries_ABD = queries_BAD.transpose(0, 1)
    # One product of all samples with the prompt: its keys are read once, not once a sample.
    scores_ABP = wide(queries_ABD @ prefix_keys_PAD.permute(1, 2, 0)) * scale
    lse_AB = scores_ABP.logsumexp(-1)
    weights_ABP = (scores_ABP - lse_AB[..., None]).exp_().to(queries_BAD.dtype)
    prefix_BAD = (weights_ABP @ prefix_values_PAD.transpose(0, 1)).transpose(0, 1).contiguous()
    own_BAD, own_lse_BA = decode_suffix(queries_BAD, keys_BSAD, values_BSAD, lengths_B, scale=scale)
    return merge_attn_states(prefix_BAD, lse_AB.t().contiguous(), own_BAD, own_lse_BA)[0]


def _suffix(
    queries_BAD: Tensor, keys_BSAD: Tensor, values_BSAD: Tensor, lengths_B: Tensor, window: int, scale: float
) -> tuple[Tensor, Tensor]:
    attended_BAD, lse_BA = reference.decode_suffix(
        queries_BAD, keys_BSAD, values_BSAD, lengths_B, window=window, scale=scale
    )
    return attended_BAD.contiguous(), lse_BA


def _merge(first: Tensor, first_lse: Tensor, second: Tensor, second_lse: Tensor) -> tuple[Tensor, Tensor]:
    flat = (first.flatten(0, -2), first_lse.flatten(), second.flatten(0, -2), second_lse.flatten())
    merged_ND, lse_N = reference.merge_attn_states(*flat)
    return merged_ND.view(first.shape), lse_N.view(first_lse.shape)


_decode_suffix = register(
    "decode_suffix(Tensor queries, Tensor keys, Tensor values, Tensor lengths, int window, float scale)"
    " -> (Tensor, Tensor)",
    reference=_suffix,
    fake=lambda queries, *rest: (
        torch.empty_like(queries, memory_format=torch.contiguous_format),
        queries.new_empty(queries.shape[:2], dtype=wide_dtype(queries)),
    ),
)
_merge_attn_states = register(
    "merge_attn_states(Tensor first, Tensor first_lse, Tensor second, Tensor second_lse) -> (Tensor, Tensor)",
    reference=_merge,
    fake=lambda first, first_lse, second, second_lse: (
        torch.empty_like(first, memory_format=torch.contiguous_format),
        torch.empty_like(first_lse, memory_format=torch.contiguous_format),
    ),
)
