"""Queries, keys and values: together, head by head, as megatron-core keeps them, or apart, as Hugging Face does.

Shapes: A heads, D channels of a head, H = A x D; X further dimensions of a matrix, none of a bias.
"""

from __future__ import annotations

import torch
from torch import Tensor


def split_qkv(joined: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """[3 H, X], the rows q, k, v of head 0, then of head 1, ..., as all q, all k and all v, each [H, X]."""
    rest = joined.shape[1:]
    apart = joined.view(num_heads, 3, -1, *rest).transpose(0, 1).reshape(3, -1, *rest)
    return apart[0], apart[1], apart[2]


def join_qkv(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """The inverse of split_qkv."""
    rest = q.shape[1:]
    apart = torch.stack([x.reshape(num_heads, -1, *rest) for x in (q, k, v)], dim=1)
    return apart.reshape(-1, *rest)
