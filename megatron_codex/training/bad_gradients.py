"""Where a gradient that is not finite comes from: which ranks, and the first parameter on each.

In: an engine whose step's gradient has no finite norm; the weights are still those of before the step. The sum over
the data-parallel ranks has spread it to all of them, so the step's passes are run once more without that sum. Out: one
line. A fault that is not seen again was the machine's rather than the data's or the model's: memory, a link, a device.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from megatron_codex.training.batches import StepBatch
from megatron_codex.training.engine import TrainingEngine

_MOST_RANKS = 4
"""Ranks that the line names; of more it gives their number."""


def name_origin(engine: TrainingEngine, batch: StepBatch, *, num_tokens: int) -> str:
    """Which ranks have a gradient that is not finite before it is summed up, and where first. Collective."""
    engine.zero_gradients()
    engine.run_alone(batch, num_tokens=num_tokens)
    bad = next(
        (shard.name for shard in engine.shards if not torch.isfinite(shard.parameter.main_grad).all()),  # type: ignore[attr-defined]
        None,
    )
    found: list[Any] = [bad]
    if dist.get_world_size() > 1:
        found = [None] * dist.get_world_size()
        dist.all_gather_object(found, bad)
    named = [(rank, name) for rank, name in enumerate(found) if name is not None]
    if not named:
        return "run once more, the step has a finite gradient on every rank: see the machines' memory and links"
    first = ", ".join(f"rank {rank} (first in {name})" for rank, name in named[:_MOST_RANKS])
    return f"it comes from {first}" + (f" and {len(named) - _MOST_RANKS} more" if len(named) > _MOST_RANKS else "")
