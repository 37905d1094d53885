"""Weights and optimizer state in one form for every layout, precision and optimizer: full fp32 tensors by name.

Between this form and what a rank holds stand the shards (model/shards.py) and the optimizer's own storage: its fp32
weights are the model's own (fp32), a copy (bf16), or this data-parallel rank's part of it (distributed optimizer). A
checkpoint holds, for each parameter, the fp32 weight and Adam's two means, and one count of updates. So a run may
resume with another layout, precision or kind of optimizer. megatron-core 0.16.1 can save optimizer state too, but
without Apex its distributed optimizer loses Adam's step or, on resume, counts it too often; that code is not used.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_codex.config.training import TrainConfig
from megatron_codex.model.checkpoint_files import OPTIMIZER_PREFIX
from megatron_codex.model.initialization import initial_tensor
from megatron_codex.model.shards import Shard
from megatron_codex.platform.megatron_core import DistributedOptimizer, ShardedTensor, dist_checkpointing
from megatron_codex.training.deepspeed_engine import DeepSpeedEngine
from megatron_codex.training.deepspeed_state import DeepSpeedSlot, deepspeed_slots
from megatron_codex.training.engine import Engine, TrainingEngine

MEANS = ("exp_avg", "exp_avg_sq")
"""Adam's state, by torch's, Apex's and Transformer Engine's names alike."""


@dataclass(frozen=True)
class _Slot:
    """A parameter shard and the optimizer's storage for it."""

    shard: Shard
    optimizer: Any
    """torch's (or Apex's, or Transformer Engine's) optimizer."""
    main: Tensor | None
    """The fp32 tensor that is updated; None where other data-parallel ranks hold all of it."""
    part: slice | None
    """What `main` is of the flattened shard; None: all of it, in the shard's shape."""
    dp_group: dist.ProcessGroup | None
    """The ranks that share the shard, where they do."""

    def whole(self, held: Tensor | None) -> Tensor:
        """The shard, fp32 on the CPU, from what each data-parallel rank holds of it. Collective over dp_group."""
        parameter = self.shard.parameter
        if self.dp_group is None:
            assert held is not None
            return held.detach().float().cpu()
        full = torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
        if held is not None:
            full[self.part] = held.detach().float()
        dist.all_reduce(full, group=self.dp_group)  # parts do not overlap: adding zeros changes nothing
        return full.view(parameter.shape).cpu()

    def held(self, whole: Tensor) -> Tensor:
        """What this rank's optimizer holds of a shard."""
        return whole if self.part is None else whole.flatten()[self.part]

    def mean(self, name: str) -> Tensor | None:
        """One of Adam's means; zeros before the first update."""
        if self.main is None:
            return None
        state: Tensor | None = self.optimizer.state.get(self.main, {}).get(name)
        return torch.zeros_like(self.main) if state is None else state


def initialise(engine: TrainingEngine, config: TrainConfig) -> None:
    """Set the weights that a new run starts from: a function of the seed only."""
    for slot in _slots(engine):
        full = initial_tensor(
            slot.shard.name,
            slot.shard.global_shape,
            model=config.model,
            vocab_size=config.tokenizer.true_vocab_size,
            seed=config.training.seed,
        )
        _set_weight(slot, slot.shard.cut(full))


def described_state(engine: TrainingEngine) -> dict[str, ShardedTensor]:
    """This rank's part of the checkpoint: every weight and mean. Collective over data-parallel groups."""
    described = []
    for slot in _slots(engine):
        described.append(slot.shard.described(slot.shard.name, slot.whole(slot.main)))
        for mean in MEANS:
            described.append(slot.shard.described(_mean_key(mean, slot.shard), slot.whole(slot.mean(mean))))
    return {str(number): tensor for number, tensor in enumerate(described)}


def load_state(engine: TrainingEngine, directory: str, *, num_updates: int | None) -> None:
    """Read weights, and with `num_updates` (Adam's steps so far) the optimizer's state too, from a checkpoint."""
    slots = _slots(engine)
    kinds = ("weight", *MEANS) if num_updates is not None else ("weight",)
    request = {f"{kind}.{number}": _empty(slot.shard, kind) for kind in kinds for number, slot in enumerate(slots)}
    # Replicas all read; the check that each part is read once is for plans that share the reading out.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it calls a torch function by its old name
        loaded = dist_checkpointing.load(request, directory, validate_access_integrity=False)
    for number, slot in enumerate(slots):
        _set_weight(slot, loaded[f"weight.{number}"])
        if num_updates is not None:
            _set_means(slot, {mean: loaded[f"{mean}.{number}"] for mean in MEANS}, num_updates)


def _empty(shard: Shard, kind: str) -> ShardedTensor:
    key = shard.name if kind == "weight" else _mean_key(kind, shard)
    # Zeros: rows of vocabulary padding that the checkpoint does not have stay so.
    return shard.described(key, torch.zeros(shard.sharded.local_shape, dtype=torch.float32))


def _mean_key(mean: str, shard: Shard) -> str:
    return f"{OPTIMIZER_PREFIX}{mean}.{shard.name}"


@torch.no_grad()
def _set_weight(slot: _Slot | DeepSpeedSlot, whole: Tensor) -> None:
    if isinstance(slot, DeepSpeedSlot):
        slot.set_weight(whole)
        return
    slot.shard.parameter.copy_(whole)
    if slot.main is not None:
        slot.main.copy_(slot.held(whole))


def _set_means(slot: _Slot | DeepSpeedSlot, means: dict[str, Tensor], num_updates: int) -> None:
    if isinstance(slot, DeepSpeedSlot):
        slot.set_means(means, num_updates)
        return
    if slot.main is None or num_updates == 0:
        return
    state: dict[str, Tensor] = {
        name: slot.held(whole).to(slot.main.device, copy=True).view_as(slot.main) for name, whole in means.items()
    }
    if isinstance(slot.optimizer, torch.optim.AdamW):
        # A count for each parameter, of its own: a shared tensor would be raised by each of them in every step.
        state["step"] = torch.tensor(float(num_updates), device=slot.main.device)
    else:  # Apex's and Transformer Engine's FusedAdam count once a group
        for group in slot.optimizer.param_groups:
            group["step"] = num_updates
    slot.optimizer.state[slot.main] = state


def _slots(engine: TrainingEngine) -> Sequence[_Slot | DeepSpeedSlot]:
    if isinstance(engine, DeepSpeedEngine):
        return deepspeed_slots(engine)
    assert isinstance(engine, Engine)
    (optimizer,) = engine.optimizer.chained_optimizers
    return [_slot(shard, optimizer) for shard in engine.shards]


def _slot(shard: Shard, optimizer: Any) -> _Slot:
    base = optimizer.optimizer
    parameter = shard.parameter
    if not isinstance(optimizer, DistributedOptimizer):
        main = getattr(parameter, "main_param", parameter)
        return _Slot(shard, base, main, part=None, dp_group=None)
    group = optimizer.data_parallel_group
    if parameter not in optimizer.model_param_gbuf_map:
        return _Slot(shard, base, None, part=None, dp_group=group)
    number, order = optimizer.model_param_group_index_map[parameter]
    bounds = optimizer._get_model_param_range_map(parameter)["param"]
    main = base.param_groups[number]["params"][order]
    return _Slot(shard, base, main, part=slice(bounds.start, bounds.end), dp_group=group)
