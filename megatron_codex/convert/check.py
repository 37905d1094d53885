"""The comparison every conversion ends in: logits of input and output on random tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.errors import WorkError

TOLERANCES = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest difference, over the largest logit. fp32: sums in another order give about 1e-6, the rewriting of biases for
GPT-Neo some 1e-5. bf16: weights have 8 bits (4e-3), and 40 layers add to that. A wrong place of any weight gives some
tenths and more."""

_FEWEST_TOKENS = 64
_BEYOND_BAND = 32


@dataclass(frozen=True, kw_only=True)
class LogitCheck:
    """How far the logits of input and output are apart."""

    num_tokens: int
    largest_difference: float
    largest_logit: float
    tolerance: float
    """Of largest_difference / largest_logit."""

    def __str__(self) -> str:
        return (
            f"logits of {self.num_tokens} random tokens differ by {self.largest_difference:.1e} at most "
            f"(largest logit {self.largest_logit:.3g})"
        )


def random_tokens(model: ModelConfig, *, vocab_size: int, seed: int) -> Tensor:
    """One text of random tokens, [S]: longer than a layer's band where there is one and the model's context allows."""
    length = min(model.seq_length, max(_FEWEST_TOKENS, (model.band_width or 0) + _BEYOND_BAND))
    return torch.randint(vocab_size, (length,), generator=torch.Generator().manual_seed(seed))


def compare_logits(expected_SV: Tensor, found_SV: Tensor, *, dtype: str = "float32") -> LogitCheck:
    """Raises: WorkError when they differ by more than the tolerance of the type of the output's weights."""
    check = LogitCheck(
        num_tokens=len(expected_SV),
        largest_difference=float((found_SV - expected_SV).abs().max()),
        largest_logit=float(expected_SV.abs().max()),
        tolerance=TOLERANCES[dtype],
    )
    if not check.largest_difference <= check.tolerance * check.largest_logit:  # NaN fails, too
        raise WorkError(f"the output is not the input's model: {check}; the output was removed")
    return check
