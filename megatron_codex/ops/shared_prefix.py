"""Attention of many samples that share prompts: over each prompt once for all of its samples, over each sample's own
positions, and the two joined.

In: queries of one new position a sample, the prompts' keys and values, each sample's own. Out: the attended values. On
a GPU: matrix products, and the kernels of csrc/kernels/decode_suffix.cu and merge_attn_states.cu. On a CPU: one pass in
C++ (csrc/cpu/attention). Elsewhere the same in torch.

Shapes: B samples, A heads, D channels of a head, P prompts, R most samples of a prompt, S own positions, T positions of
the longest prompt. lse: log of the sum of exp(scaled score), fp32, -inf where there are no keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.native.library import fastest
from megatron_codex.ops import reference, rows
from megatron_codex.ops.registered import register, wide, wide_dtype

ROOM_MULTIPLE = 32
"""Positions that csrc/cpu/attention reads a prompt's keys by."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts that samples continue, in one layer, and which of them is whose."""

    keys: Tensor
    """[P, A, D, T]: channels before positions, as a product with queries reads them in order."""
    values: Tensor
    """[P, A, T, D]"""
    lengths: Tensor
    """[P] int32; what lies beyond is finite and not seen."""
    prompt_of: Tensor
    """[B] int64, the prompt of each sample; samples of a prompt stand side by side."""
    place_of: Tensor
    """[B] int64, which of its prompt's samples each one is, from 0."""
    most_samples: int
    """R, or more."""


class Attention(Protocol):
    """What shared_prefix_attention and its reference are."""

    def __call__(
        self,
        queries_BAD: Tensor,
        prompts: Prompts,
        keys_BSAD: Tensor,
        values_BSAD: Tensor,
        lengths_B: Tensor,
        *,
        scale: float,
        window: int = 0,
    ) -> Tensor: ...


def decode_suffix(
    queries_BAD: Tensor, keys_BSAD: Tensor, values_BSAD: Tensor, lengths_B: Tensor, *, scale: float, window: int = 0
) -> tuple[Tensor, Tensor]:
    """(attended_BAD, lse_BA) over the first lengths_B[b] positions of each sample, the last `window` of them (0: all).

    lengths_B: int32; 0 gives zeros and -inf. The CUDA kernel is for D of ops/programs.py's
    HEAD_SIZES.
    """
    attended_BAD, lse_BA = _decode_suffix(queries_BAD, keys_BSAD, values_BSAD, lengths_B, window, scale)
    return attended_BAD, lse_BA


def merge_attn_states(first: Tensor, first_lse: Tensor, second: Tensor, second_lse: Tensor) -> tuple[Tensor, Tensor]:
    """(merged, its lse): attention over two sets of keys, [..., D] and [...], from the attentions over each."""
    merged, lse = _merge_attn_states(first, first_lse, second, second_lse)
    return merged, lse


def shared_prefix_attention(
    queries_BAD: Tensor,
    prompts: Prompts,
    keys_BSAD: Tensor,
    values_BSAD: Tensor,
    lengths_B: Tensor,
    *,
    scale: float,
    window: int = 0,
) -> Tensor:
    """[B, A, D]: each query's attention to its prompt and to its own sample's first lengths_B[b] positions.

    window: positions seen, prompt and own, the last; 0: all. A sample's numbers do not depend on the others, on a CPU
    not in a bit.
    """
    attended_BAD: Tensor = _shared_prefix_attention(
        queries_BAD,
        *(prompts.keys, prompts.values, prompts.lengths),
        *(prompts.prompt_of, prompts.place_of, prompts.most_samples),
        *(keys_BSAD, values_BSAD, lengths_B, window, scale),
    )
    return attended_BAD


def reference_shared_prefix_attention(
    queries_BAD: Tensor,
    prompts: Prompts,
    keys_BSAD: Tensor,
    values_BSAD: Tensor,
    lengths_B: Tensor,
    *,
    scale: float,
    window: int = 0,
) -> Tensor:
    """The same in plain torch."""
    prompt = attend_to_prompts(queries_BAD, prompts, lengths_B, window=window, scale=scale)
    own = _suffix(queries_BAD, keys_BSAD, values_BSAD, lengths_B, window, scale)
    return _merge(*prompt, *own)[0]


def attend_to_prompts(
    queries_BAD: Tensor, prompts: Prompts, lengths_B: Tensor, *, window: int, scale: float
) -> tuple[Tensor, Tensor]:
    """(attended_BAD, lse_BA) of each sample's query over its prompt: one product with the keys of each prompt.

    lengths_B: own positions of each sample, which a window passes first.
    """
    grid_PARD = _per_prompt(queries_BAD, prompts)
    scores_PART = wide(grid_PARD @ prompts.keys) * scale
    scores_PART = scores_PART.masked_fill(_unseen(prompts, lengths_B, window), -torch.inf)
    weights_PART = scores_PART.softmax(dim=-1)
    largest_PAR = scores_PART.amax(dim=-1)
    # The likeliest position weighs 1 / sum of exp(score - largest): so no sum of ours depends on how far prompts are
    # padded, and a sample's lse not on its neighbours.
    lse_PAR = largest_PAR - weights_PART.amax(dim=-1).log()
    empty_PAR = largest_PAR == -torch.inf
    weights_PART = weights_PART.masked_fill(empty_PAR[..., None], 0.0).to(queries_BAD.dtype)
    attended_BAD = _per_sample(weights_PART @ prompts.values, prompts)
    return attended_BAD, _per_sample(lse_PAR.masked_fill(empty_PAR, -torch.inf), prompts)


def _unseen(prompts: Prompts, lengths_B: Tensor, window: int) -> Tensor:
    """[P, 1, R or 1, T], True at a prompt's padding, and at positions that a sample's window has left behind."""
    position_T = torch.arange(prompts.keys.shape[-1], device=lengths_B.device)
    padding_PT = position_T >= prompts.lengths[:, None]
    if window == 0:
        return padding_PT[:, None, None]
    firsts_B = prompts.lengths[prompts.prompt_of] + lengths_B - window
    left_P1RT = position_T < _per_prompt(firsts_B[:, None, None], prompts)
    return padding_PT[:, None, None] | left_P1RT


def _per_prompt(x_BAX: Tensor, prompts: Prompts) -> Tensor:
    """Rows [B, A, X] into a grid [P, A, R, X]; empty places are zero."""
    _, A, X = x_BAX.shape
    grid_PARX = x_BAX.new_zeros(len(prompts.lengths), A, prompts.most_samples, X)
    grid_PARX[prompts.prompt_of, :, prompts.place_of] = x_BAX
    return grid_PARX


def _per_sample(grid: Tensor, prompts: Prompts) -> Tensor:
    """A grid [P, A, R, ...] back into rows [B, A, ...]."""
    return grid[prompts.prompt_of, :, prompts.place_of]


def _in_parts(queries_BAD: Tensor, *rest: Any) -> Tensor:
    """By the two operations above, whose programs torch's dispatcher picks."""
    prompts, keys_BSAD, values_BSAD, lengths_B, window, scale = _unpacked(rest)
    prompt = attend_to_prompts(queries_BAD, prompts, lengths_B, window=window, scale=scale)
    own = decode_suffix(queries_BAD, keys_BSAD, values_BSAD, lengths_B, window=window, scale=scale)
    return merge_attn_states(*prompt, *own)[0]


def _in_cpp(queries_BAD: Tensor, *rest: Any) -> Tensor:
    """csrc/cpu/attention: no grid, so places are not read."""
    found = fastest()
    if found is None or not rows.takes(queries_BAD):
        return _in_parts(queries_BAD, *rest)
    module, instructions = found
    prompts, keys_BSAD, values_BSAD, lengths_B, window, scale = _unpacked(rest)
    _require_alike(queries_BAD, prompts, keys_BSAD, values_BSAD, lengths_B)
    if queries_BAD.stride(2) != 1:
        queries_BAD = queries_BAD.contiguous()
    if keys_BSAD.stride() != values_BSAD.stride() or keys_BSAD.stride(3) != 1:
        keys_BSAD, values_BSAD = keys_BSAD.contiguous(), values_BSAD.contiguous()
    keys_PADT, values_PATD = prompts.keys, prompts.values
    if missing := -keys_PADT.shape[-1] % ROOM_MULTIPLE:
        keys_PADT, values_PATD = F.pad(keys_PADT, (0, missing)), F.pad(values_PATD, (0, 0, 0, missing))
    keys_PADT, values_PATD = keys_PADT.contiguous(), values_PATD.contiguous()
    of_prompts = (keys_PADT, values_PATD, prompts.lengths.contiguous(), prompts.prompt_of.contiguous())
    lengths_B = lengths_B.contiguous()
    attended_BAD = torch.empty_like(queries_BAD, memory_format=torch.contiguous_format)
    module.shared_prefix_attention(
        rows.DTYPES[queries_BAD.dtype],
        (*queries_BAD.shape, len(keys_PADT), keys_PADT.shape[-1], keys_BSAD.shape[1]),
        (queries_BAD.data_ptr(), *queries_BAD.stride()[:2]),
        tuple(x.data_ptr() for x in of_prompts),
        (keys_BSAD.data_ptr(), values_BSAD.data_ptr(), lengths_B.data_ptr(), *_strides(keys_BSAD)),
        attended_BAD.data_ptr(),
        window=window,
        scale=scale,
        instructions=instructions,
        num_threads=torch.get_num_threads(),
    )
    return attended_BAD


def _strides(keys_BSAD: Tensor) -> tuple[int, int, int]:
    sample, position, head, _ = keys_BSAD.stride()
    return sample, position, head


def _unpacked(rest: tuple[Any, ...]) -> tuple[Prompts, Tensor, Tensor, Tensor, int, float]:
    """The operation's arguments after the queries."""
    keys, values, lengths, prompt_of, place_of, most_samples, *own = rest
    prompts = Prompts(
        keys=keys, values=values, lengths=lengths, prompt_of=prompt_of, place_of=place_of, most_samples=most_samples
    )
    keys_BSAD, values_BSAD, lengths_B, window, scale = own
    return prompts, keys_BSAD, values_BSAD, lengths_B, window, scale


def _require_alike(
    queries_BAD: Tensor, prompts: Prompts, keys_BSAD: Tensor, values_BSAD: Tensor, lengths_B: Tensor
) -> None:
    """What C++ reads by address must be of the sizes and types that it is told."""
    B, A, D = queries_BAD.shape
    P, S, T = len(prompts.lengths), keys_BSAD.shape[1], prompts.keys.shape[-1]
    dtype, device = queries_BAD.dtype, queries_BAD.device
    for name, tensor, shape, of in (
        ("prompts.keys", prompts.keys, (P, A, D, T), dtype),
        ("prompts.values", prompts.values, (P, A, T, D), dtype),
        ("prompts.lengths", prompts.lengths, (P,), torch.int32),
        ("prompts.prompt_of", prompts.prompt_of, (B,), torch.int64),
        ("keys", keys_BSAD, (B, S, A, D), dtype),
        ("values", values_BSAD, (B, S, A, D), dtype),
        ("lengths", lengths_B, (B,), torch.int32),
    ):
        if tuple(tensor.shape) != shape or tensor.dtype != of or tensor.device != device:
            got = f"{tuple(tensor.shape)} of {tensor.dtype} on {tensor.device}"
            raise ValueError(f"shared_prefix_attention: {name}: got {got}; must be {shape} of {of} on {device}")


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
_shared_prefix_attention = register(
    "shared_prefix_attention(Tensor queries, Tensor prompt_keys, Tensor prompt_values, Tensor prompt_lengths,"
    " Tensor prompt_of, Tensor place_of, int most_samples, Tensor keys, Tensor values, Tensor lengths, int window,"
    " float scale) -> Tensor",
    reference=_in_parts,
    cpu=_in_cpp,
    fake=lambda queries, *rest: torch.empty_like(queries, memory_format=torch.contiguous_format),
)
