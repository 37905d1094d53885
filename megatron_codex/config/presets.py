"""The Codex paper's eight model sizes, with the training settings of the GPT-3 model of each size.

The Codex paper (arXiv 2107.03374) names its models by their number of parameters only. The shapes here are INFERRED:
12 x layers x hidden_size^2 gives each size, with the layers and heads that GPT-3 (arXiv 2005.14165, table 2.1) uses at
that width. The learning rate and the batch are those of the GPT-3 model next in size, as the Codex paper says it did
("the same learning rate as the corresponding GPT model"); the context is GPT-3's 2,048 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

PresetName = Literal[
    "codex_12m", "codex_25m", "codex_42m", "codex_85m", "codex_300m", "codex_679m", "codex_2.5b", "codex_12b"
]
PRESET_NAMES: tuple[PresetName, ...] = get_args(PresetName)

TRAINING_TOKENS = 100_000_000_000
"""Codex paper, section 3.2."""

WARMUP_ITERS = 175
"""Codex paper, section 3.2."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model's shape and the training settings that go with its size."""

    num_layers: int
    hidden_size: int
    num_attention_heads: int
    lr: float
    """Peak learning rate of the GPT-3 model of this size."""
    batch_tokens: int
    """Tokens of a global batch: GPT-3's 0.5, 1 and 2 million, as powers of two."""
    seq_length: int = 2048

    @property
    def global_batch_size(self) -> int:
        """Samples of a global batch."""
        return self.batch_tokens // self.seq_length

    @property
    def train_iters(self) -> int:
        """Steps that take the paper's 100 billion tokens."""
        return round(TRAINING_TOKENS / self.batch_tokens)


_HALF_M, _ONE_M, _TWO_M = 1 << 19, 1 << 20, 1 << 21

# fmt: off
PRESETS: dict[PresetName, Preset] = {
    "codex_12m":  Preset(num_layers=4,  hidden_size=512,  num_attention_heads=8,  lr=6e-4,   batch_tokens=_HALF_M),
    "codex_25m":  Preset(num_layers=8,  hidden_size=512,  num_attention_heads=8,  lr=6e-4,   batch_tokens=_HALF_M),
    "codex_42m":  Preset(num_layers=6,  hidden_size=768,  num_attention_heads=12, lr=6e-4,   batch_tokens=_HALF_M),
    "codex_85m":  Preset(num_layers=12, hidden_size=768,  num_attention_heads=12, lr=6e-4,   batch_tokens=_HALF_M),
    "codex_300m": Preset(num_layers=24, hidden_size=1024, num_attention_heads=16, lr=3e-4,   batch_tokens=_HALF_M),
    "codex_679m": Preset(num_layers=24, hidden_size=1536, num_attention_heads=16, lr=2.5e-4, batch_tokens=_HALF_M),
    "codex_2.5b": Preset(num_layers=32, hidden_size=2560, num_attention_heads=32, lr=1.6e-4, batch_tokens=_ONE_M),
    "codex_12b":  Preset(num_layers=40, hidden_size=5120, num_attention_heads=40, lr=1e-4,   batch_tokens=_TWO_M),
}
# fmt: on
