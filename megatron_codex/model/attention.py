"""Core attention through torch's scaled_dot_product_attention, as the part of megatron-core's layer that is replaced.

Shapes: S positions, B samples, A heads of this tensor-parallel rank, D channels of a head.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops.attention import causal_attention, is_faster_here
from megatron_codex.platform.megatron_core import MegatronModule, TransformerConfig, get_cuda_rng_tracker


class CausalAttention(MegatronModule):
    """Attention to the positions up to one's own: all of them, or those that a mask leaves."""

    def __init__(self, config: TransformerConfig, *args: object, **kwargs: object) -> None:
        """The further arguments of megatron-core's core attention (layer number, mask type, groups) are not needed."""
        super().__init__(config=config)
        self.dropout = config.attention_dropout

    def forward(
        self, query_SBAD: Tensor, key_SBAD: Tensor, value_SBAD: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> Tensor:
        """[S, B, A * D] from queries, keys and values [S, B, A, D].

        attention_mask: [B, 1, S, S], True where a query does not see a key, causality included; None: plainly causal,
        which needs no mask in memory. Every row must leave one key at least.
        """
        dropout = self.dropout if self.training else 0.0
        if dropout == 0.0:
            return self._attend(query_SBAD, key_SBAD, value_SBAD, attention_mask, dropout)
        with get_cuda_rng_tracker().fork():  # tensor-parallel ranks hold different heads: each draws its own
            return self._attend(query_SBAD, key_SBAD, value_SBAD, attention_mask, dropout)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        query_BASD, key_BASD, value_BASD = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        if mask is None and dropout == 0.0 and is_faster_here(query_BASD):
            attended_BASD = causal_attention(query_BASD, key_BASD, value_BASD)
        else:
            attended_BASD = F.scaled_dot_product_attention(
                query_BASD,
                key_BASD,
                value_BASD,
                attn_mask=None if mask is None else ~mask,
                is_causal=mask is None,
                dropout_p=dropout,
            )
        return attended_BASD.permute(2, 0, 1, 3).flatten(2)
