"""Weights and optimizer state in one form for every layout, precision and optimizer: full fp32 tensors by name.

Between this form and what a rank holds stand the shards (model/shards.py) and the optimizer's own storage: its fp32
weights are the model's own (fp32), a copy (bf16), or this data-parallel rank's part of it (distributed optimizer). A
checkpoint holds, for each parameter, the fp32 weight and Adam's two means, and one count of updates. So a run may
resume with another layout, precision or kind of optimizer. No rank gathers anything: what it owns is cut into
rectangles of the full tensors, as views of the optimizer's storage, and it reads back only what it holds.
megatron-core 0.16.1 can save optimizer state too, but without Apex its distributed optimizer loses Adam's step or, on
resume, counts it too often; that code is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from megatron_codex.config.training import TrainConfig
from megatron_codex.model.checkpoint_files import OPTIMIZER_PREFIX
from megatron_codex.model.checkpoint_shards import Piece
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.initialization import WORD_EMBEDDINGS, initial_tensor
from megatron_codex.model.shards import Shard, rectangles
from megatron_codex.platform.megatron_core import DistributedOptimizer, parallel_state
from megatron_codex.training.deepspeed_engine import DeepSpeedEngine
from megatron_codex.training.deepspeed_state import deepspeed_slots
from megatron_codex.training.engine import Engine, TrainingEngine

MEANS = ("exp_avg", "exp_avg_sq")
"""Adam's state, by torch's, Apex's and Transformer Engine's names alike."""


class Slot(Protocol):
    """A parameter shard and the optimizer's storage for it."""

    @property
    def shard(self) -> Shard: ...

    @property
    def main(self) -> Tensor | None:
        """The fp32 tensor that is updated; None where other data-parallel ranks hold all of it."""

    @property
    def part(self) -> slice | None:
        """What `main` is of the flattened shard; None: all of it, in the shard's shape."""

    def mean(self, name: str) -> Tensor:
        """One of Adam's means, of `main`; zeros before the first update."""

    def set_weight(self, whole: Tensor) -> None:
        """Set the model's weight, and `main`, from the whole shard."""

    def set_means(self, means: dict[str, Tensor], num_updates: int) -> None:
        """Set Adam's means, of `main` and flat, and its count of updates."""


@dataclass(frozen=True)
class _MegatronSlot:
    """A slot of megatron-core's optimizer."""

    shard: Shard
    optimizer: Any
    """torch's (or Apex's, or Transformer Engine's) optimizer."""
    main: Tensor | None
    part: slice | None

    def mean(self, name: str) -> Tensor:
        assert self.main is not None
        state: Tensor | None = self.optimizer.state.get(self.main, {}).get(name)
        return torch.zeros_like(self.main) if state is None else state

    @torch.no_grad()
    def set_weight(self, whole: Tensor) -> None:
        self.shard.parameter.copy_(whole)
        if self.main is not None:
            self.main.copy_(whole if self.part is None else whole.flatten()[self.part])

    def set_means(self, means: dict[str, Tensor], num_updates: int) -> None:
        main = self.main
        assert main is not None
        state: dict[str, Tensor] = {name: held.to(main.device).view_as(main) for name, held in means.items()}
        if isinstance(self.optimizer, torch.optim.AdamW):
            # A count for each parameter, of its own: a shared tensor would be raised by each of them in every step.
            state["step"] = torch.tensor(float(num_updates), device=main.device)
        else:  # Apex's and Transformer Engine's FusedAdam count once a group
            for group in self.optimizer.param_groups:
                group["step"] = num_updates
        self.optimizer.state[main] = state


def initialise(engine: TrainingEngine, config: TrainConfig) -> None:
    """Set the weights that a new run starts from: a function of the seed only."""
    for slot in optimizer_slots(engine):
        full = initial_tensor(
            slot.shard.name,
            slot.shard.global_shape,
            model=config.model,
            vocab_size=config.tokenizer.true_vocab_size,
            seed=config.training.seed,
        )
        slot.set_weight(slot.shard.cut(full))


def owned_pieces(engine: TrainingEngine, *, vocab_size: int) -> list[Piece]:
    """What this rank writes into a checkpoint: every weight and mean of which it has the first copy, as views.

    With a distributed optimizer a data-parallel rank owns its part of each shard. Without one, all of them hold the
    same shards: each shard is written by one of them, so that they have about equally much to write.
    vocab_size: the true one; rows of padding are left out.
    """
    pieces: list[Piece] = []
    slots = optimizer_slots(engine)
    writers = _writers(slots)
    for slot, writer in zip(slots, writers, strict=True):
        first_copy = not any(slot.shard.model_parallel_replica)
        if slot.main is None or not first_copy or (slot.part is None and writer != slot.shard.data_parallel_replica):
            continue
        pieces += _pieces(slot, slot.shard.name, slot.main.detach(), vocab_size)
        for mean in MEANS:
            pieces += _pieces(slot, _mean_key(mean, slot.shard), slot.mean(mean), vocab_size)
    return pieces


def load_state(engine: TrainingEngine, directory: Path, *, num_updates: int | None) -> None:
    """Read weights, and with `num_updates` (Adam's steps so far) the optimizer's state too, from a checkpoint.

    Raises: InputError when it has not all of them, or a file is damaged.
    """
    stored = CheckpointTensors(directory)
    for slot in optimizer_slots(engine):
        shard = slot.shard
        slot.set_weight(stored.read_part(shard.name, offset=shard.offset, shape=shard.shape))
        if slot.main is not None and num_updates:
            means = {mean: _read_part(slot, stored, _mean_key(mean, shard)) for mean in MEANS}
            slot.set_means(means, num_updates)


def _pieces(slot: Slot, name: str, held: Tensor, vocab_size: int) -> Iterator[Piece]:
    """The rectangles that `held`, this rank's part of a shard, consists of; those of padding are cut off."""
    shard = slot.shard
    global_shape = (vocab_size, *shard.global_shape[1:]) if shard.name == WORD_EMBEDDINGS else shard.global_shape
    flat, begin = held.reshape(-1), slot.part.start if slot.part is not None else 0
    assert flat.data_ptr() == held.data_ptr(), "a copy, not a view: what is held must be contiguous"
    for rectangle in rectangles(shard.shape, begin, begin + flat.numel()):
        offset = tuple(a + b for a, b in zip(shard.offset, rectangle.offset, strict=True))
        data = flat[rectangle.begin - begin : rectangle.end - begin].view(rectangle.shape)
        num_rows = min(data.shape[0], global_shape[0] - offset[0])
        if num_rows > 0:
            yield Piece(name=name, global_shape=global_shape, offset=offset, data=data[:num_rows])


def _read_part(slot: Slot, stored: CheckpointTensors, name: str) -> Tensor:
    """What this rank's optimizer holds of a tensor, flat."""
    assert slot.main is not None
    begin = slot.part.start if slot.part is not None else 0
    parts = []
    for rectangle in rectangles(slot.shard.shape, begin, begin + slot.main.numel()):
        offset = tuple(a + b for a, b in zip(slot.shard.offset, rectangle.offset, strict=True))
        parts.append(stored.read_part(name, offset=offset, shape=rectangle.shape).flatten())
    return torch.cat(parts) if parts else torch.empty(0)


def _writers(slots: Sequence[Slot]) -> list[int]:
    """For each slot the data-parallel rank that writes it where all of them hold the same: the least loaded so far."""
    loads = [0] * int(parallel_state.get_data_parallel_world_size(with_context_parallel=True))
    writers = []
    for slot in slots:
        writer = loads.index(min(loads))
        loads[writer] += prod(slot.shard.shape)
        writers.append(writer)
    return writers


def _mean_key(mean: str, shard: Shard) -> str:
    return f"{OPTIMIZER_PREFIX}{mean}.{shard.name}"


def optimizer_slots(engine: TrainingEngine) -> Sequence[Slot]:
    """A slot for each parameter of this rank, in the order of engine.shards."""
    if isinstance(engine, DeepSpeedEngine):
        return deepspeed_slots(engine)
    assert isinstance(engine, Engine)
    (optimizer,) = engine.optimizer.chained_optimizers
    return [_slot(shard, optimizer) for shard in engine.shards]


def _slot(shard: Shard, optimizer: Any) -> _MegatronSlot:
    base = optimizer.optimizer
    parameter = shard.parameter
    if not isinstance(optimizer, DistributedOptimizer):
        main = getattr(parameter, "main_param", parameter)
        return _MegatronSlot(shard, base, main, part=None)
    if parameter not in optimizer.model_param_gbuf_map:
        return _MegatronSlot(shard, base, None, part=None)
    number, order = optimizer.model_param_group_index_map[parameter]
    bounds = optimizer._get_model_param_range_map(parameter)["param"]
    main = base.param_groups[number]["params"][order]
    return _MegatronSlot(shard, base, main, part=slice(bounds.start, bounds.end))
