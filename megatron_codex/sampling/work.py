"""What is to be sampled: batches, which a back-end turns into Completions. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.records import Completion
from megatron_codex.sampling.stopping import Stop


@dataclass(frozen=True)
class Prompt:
    """What the model is given for one task."""

    task_id: str
    text: str


Item = tuple[Prompt, int]
"""A prompt and the index of one of its samples."""


@dataclass(frozen=True)
class Work:
    """One batch: samples, those of a prompt side by side."""

    items: tuple[Item, ...]
    config: GenerationConfig
    stop: Stop
    token_logps: bool


Decode = Callable[[Work], list[Completion]]
"""A back-end: draws the samples of one batch, in the order of its items; other processes may be given it."""
