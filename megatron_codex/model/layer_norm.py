"""Layer norm that knows sequence parallelism: megatron-core's own plain-torch norm refuses it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from megatron_codex.platform.megatron_core import TransformerConfig

Normalise = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(x, weight, bias, epsilon) -> x normalised over its last dimension."""


class LayerNorm(nn.LayerNorm):
    """torch's layer norm with its parameters marked, so that their gradients are summed over the sequence's shards."""

    def __init__(
        self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, *, normalise: Normalise, **kwargs: object
    ) -> None:
        """normalise: the program, as ops/choice.py or platform/apex.py has it."""
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        self.normalise = normalise
        for parameter in self.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, input: Tensor) -> Tensor:
        """Of [..., H]."""
        return self.normalise(input, self.weight, self.bias, self.eps)
