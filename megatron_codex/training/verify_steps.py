"""What verification takes from the engine: gradients as they stand before the optimizer's step, weights, Adam's means.

In: an engine. Out: this rank's pieces of each full tensor (parallel/verify_pieces.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch.distributed as dist
from torch import Tensor

from megatron_codex.data.batch import Batch
from megatron_codex.model.shards import Shard
from megatron_codex.parallel.verify_pieces import Piece
from megatron_codex.platform.megatron_core import DistributedOptimizer
from megatron_codex.training.batches import GlobalBatches
from megatron_codex.training.engine import Engine, TrainingEngine
from megatron_codex.training.state import MEANS, optimizer_slots

WEIGHTS = "weights"


def gradient_pieces(engine: TrainingEngine) -> list[Piece]:
    """This rank's gradients, reduced over all ranks. With the distributed optimizer, a rank has a part of each."""
    (optimizer,) = _megatron_core_s(engine).optimizer.chained_optimizers
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
        pieces.append(_piece(shard, gradient, part))
    return pieces


def state_pieces(engine: TrainingEngine) -> dict[str, list[Piece]]:
    """This rank's weights and Adam's means, fp32: "weights" or the mean's name -> pieces."""
    pieces: dict[str, list[Piece]] = {kind: [] for kind in (WEIGHTS, *MEANS)}
    for slot in optimizer_slots(engine):
        if slot.main is None:
            continue
        pieces[WEIGHTS].append(_piece(slot.shard, slot.main, slot.part))
        for mean in MEANS:
            pieces[mean].append(_piece(slot.shard, slot.mean(mean), slot.part))
    return pieces


@contextmanager
def before_updates(engine: TrainingEngine, action: Callable[[], None], *, update: bool = True) -> Iterator[None]:
    """Within the block, call `action` when a step's gradients are whole; update=False: the weights then stay."""
    optimizer = _megatron_core_s(engine).optimizer
    take_step = optimizer.step

    def watched() -> tuple[bool, float, int]:
        action()
        outcome: tuple[bool, float, int] = take_step() if update else (True, 0.0, 0)
        return outcome

    optimizer.step = watched
    try:
        yield
    finally:
        del optimizer.step  # the class's own is seen again


def global_batch(batches: GlobalBatches, step: int) -> Batch:
    """All samples of a step in one Batch, whatever ranks take which of them."""
    size = batches.global_batch_size
    indices = batches.order(np.arange(step * size, (step + 1) * size)).tolist()
    return batches.source.batch(indices, seq_length=batches.source.sequence_length(indices))


def _megatron_core_s(engine: TrainingEngine) -> Engine:
    assert isinstance(engine, Engine), "VerifyConfig refuses the others"
    return engine


def _piece(shard: Shard, data: Tensor, part: slice | None) -> Piece:
    return Piece(
        name=shard.name,
        rank=dist.get_rank(),
        global_shape=shard.global_shape,
        index=tuple(shard.sharded.global_slice()),
        part=part,
        data=data.detach().to("cpu", copy=True),
    )
