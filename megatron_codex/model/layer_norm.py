"""Layer norm that knows sequence parallelism: megatron-core's own plain-torch norm refuses it."""

from __future__ import annotations

from torch import nn

from megatron_codex.platform.megatron_core import TransformerConfig


class LayerNorm(nn.LayerNorm):
    """torch's layer norm with its parameters marked, so that their gradients are summed over the sequence's shards."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **kwargs: object) -> None:
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        for parameter in self.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]
