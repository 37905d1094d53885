"""What verification takes from the engine: gradients as they stand before the optimizer's step, weights, Adam's means.

In: an engine. Out: this rank's pieces of each full tensor (parallel/verify_pieces.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch.distributed as dist
from torch import Tensor

from megatron_codex.data.batch import Batch
from megatron_codex.model.checkpoint_files import OPTIMIZER_PREFIX
from megatron_codex.parallel.verify_pieces import Piece
from megatron_codex.platform.megatron_core import DistributedOptimizer
from megatron_codex.training.batches import GlobalBatches
from megatron_codex.training.engine import Engine
from megatron_codex.training.state import MEANS, described_state

WEIGHTS = "weights"


def gradient_pieces(engine: Engine) -> list[Piece]:
    """This rank's gradients, reduced over all ranks. With the distributed optimizer, a rank has a part of each."""
    (optimizer,) = engine.optimizer.chained_optimizers
    pieces = []
    for shard in engine.shards:
        gradient: Tensor = shard.parameter.main_grad  # type: ignore[attr-defined]
        part = None
        if isinstance(optimizer, DistributedOptimizer):
            if shard.parameter not in optimizer.model_param_gbuf_map:
                continue
            bounds = optimizer._get_model_param_range_map(shard.parameter)["param"]
            part = slice(bounds.start, bounds.end)
            gradient = gradient.flatten()[part]
        pieces.append(replace(_piece(shard.name, shard.sharded, gradient), part=part))
    return pieces


def state_pieces(engine: Engine) -> dict[str, list[Piece]]:
    """This rank's weights and Adam's means, fp32: "weights" or the mean's name -> pieces. Collective."""
    pieces: dict[str, list[Piece]] = {kind: [] for kind in (WEIGHTS, *MEANS)}
    for sharded in described_state(engine).values():
        kind, name = WEIGHTS, sharded.key
        for mean in MEANS:
            if name.startswith(f"{OPTIMIZER_PREFIX}{mean}."):
                kind, name = mean, name.removeprefix(f"{OPTIMIZER_PREFIX}{mean}.")
        pieces[kind].append(_piece(name, sharded, sharded.data))
    return pieces


@contextmanager
def before_updates(engine: Engine, action: Callable[[], None], *, update: bool = True) -> Iterator[None]:
    """Within the block, call `action` when a step's gradients are whole; update=False: the weights then stay."""
    take_step = engine.optimizer.step

    def watched() -> tuple[bool, float, int]:
        action()
        outcome: tuple[bool, float, int] = take_step() if update else (True, 0.0, 0)
        return outcome

    engine.optimizer.step = watched
    try:
        yield
    finally:
        del engine.optimizer.step  # the class's own is seen again


def global_batch(batches: GlobalBatches, step: int) -> Batch:
    """All samples of a step in one Batch, whatever ranks take which of them."""
    size = batches.global_batch_size
    indices = batches.order(np.arange(step * size, (step + 1) * size)).tolist()
    return batches.source.batch(indices, seq_length=batches.source.sequence_length(indices))


def _piece(name: str, sharded: Any, data: Tensor) -> Piece:
    return Piece(
        name=name,
        rank=dist.get_rank(),
        global_shape=tuple(sharded.global_shape),
        index=tuple(sharded.global_slice()),
        part=None,
        data=data.detach().to("cpu", copy=True),
    )
