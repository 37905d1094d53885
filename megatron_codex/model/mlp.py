"""The MLP: megatron-core's, with the first layer's bias and GELU in one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from megatron_codex.platform.megatron_core import MLP, MLPSubmodules


class BiasGeluMLP(MLP):
    """hidden -> linear_fc1 -> GELU(x + bias) -> linear_fc2, whose bias is left to the caller."""

    parts: MLPSubmodules
    bias_gelu: Callable[[Tensor, Tensor | None], Tensor]
    """As ops/choice.py has it."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config, submodules=self.parts, **kwargs)

    def forward(self, hidden_states: Tensor, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """(output, its bias, not yet added) of hidden_states [S, B, H]."""
        inner, bias = self.linear_fc1(hidden_states)
        output, output_bias = self.linear_fc2(self.bias_gelu(inner, bias))
        return output, output_bias


def mlp_class(parts: MLPSubmodules, bias_gelu: Callable[[Tensor, Tensor | None], Tensor]) -> type[BiasGeluMLP]:
    """A BiasGeluMLP of these parts. A class, since megatron-core warns of a ModuleSpec whose class it does not know."""
    return type("BiasGeluMLP", (BiasGeluMLP,), {"parts": parts, "bias_gelu": staticmethod(bias_gelu)})
