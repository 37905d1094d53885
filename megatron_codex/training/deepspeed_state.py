"""What a rank's DeepSpeed optimizer holds of each parameter: the slots that training/state.py saves and loads.

ZeRO lays the parameters of a group end to end and gives each data-parallel rank a piece, as one flat fp32 tensor: with
stages 1 and 2 a piece of the whole, so that a parameter may lie on one rank, on several or none; with stage 3 a piece
of every parameter. AdamW's state belongs to the flat tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_codex.model.shards import Shard
from megatron_codex.platform.megatron_core import parallel_state
from megatron_codex.training.deepspeed_engine import DeepSpeedEngine


@dataclass(frozen=True)
class _Piece:
    """This rank's piece of a parameter."""

    flat: Tensor
    """The flat fp32 tensor that it lies in: the key of AdamW's state."""
    start: int
    """Where it begins in `flat`."""
    part: slice
    """Which elements of the flattened parameter it is."""

    @property
    def num_elements(self) -> int:
        return int(self.part.stop - self.part.start)

    def of(self, flat: Tensor) -> Tensor:
        """The same elements of a tensor of `flat`'s shape, as a view."""
        return flat[self.start : self.start + self.num_elements]


@dataclass(frozen=True)
class DeepSpeedSlot:
    """A parameter shard and the optimizer's storage for it."""

    shard: Shard
    optimizer: torch.optim.AdamW
    piece: _Piece | None
    """None where other data-parallel ranks hold all of the parameter."""

    @property
    def main(self) -> Tensor | None:
        """The fp32 elements that are updated, flat; None where other ranks hold all of them."""
        return None if self.piece is None else self.piece.of(self.piece.flat)

    @property
    def part(self) -> slice | None:
        """What `main` is of the flattened shard."""
        return None if self.piece is None else self.piece.part

    def mean(self, name: str) -> Tensor:
        """One of Adam's means, of `main`; zeros before the first update."""
        assert self.piece is not None
        flat = self.optimizer.state.get(self.piece.flat, {}).get(name)
        return torch.zeros(self.piece.num_elements) if flat is None else self.piece.of(flat)

    @torch.no_grad()
    def set_weight(self, whole: Tensor) -> None:
        """Set the model's weight and the optimizer's fp32 elements of it."""
        parameter: Any = self.shard.parameter
        if self.piece is not None:
            self.piece.of(self.piece.flat).copy_(whole.flatten()[self.piece.part])
        if parameter.numel() == whole.numel():
            parameter.copy_(whole)
        if hasattr(parameter, "ds_tensor"):  # stage 3: the weight's piece, with padding at the end of the last one
            assert self.piece is not None
            parameter.ds_tensor[: self.piece.num_elements].copy_(whole.flatten()[self.piece.part])

    def set_means(self, means: dict[str, Tensor], num_updates: int) -> None:
        """Set Adam's means, of `main`, and the count of updates of the flat tensor that they lie in."""
        assert self.piece is not None
        state = self.optimizer.state[self.piece.flat]
        state["step"] = torch.tensor(float(num_updates), device=self.piece.flat.device)
        for name, held in means.items():
            flat = state.setdefault(name, torch.zeros_like(self.piece.flat))
            self.piece.of(flat).copy_(held)


def deepspeed_slots(engine: DeepSpeedEngine) -> list[DeepSpeedSlot]:
    """A slot for each parameter of this rank, in the order of engine.shards."""
    optimizer = engine.zero.optimizer
    dp_group = parallel_state.get_data_parallel_group()
    piece = _piece_of_stage_3 if engine.zero.zero_optimization_stage() == 3 else _piece_of_stages_1_and_2
    return [
        DeepSpeedSlot(shard, optimizer.optimizer, piece(optimizer, shard.parameter, dp_group))
        for shard in engine.shards
    ]


def _piece_of_stages_1_and_2(optimizer: Any, parameter: Any, dp_group: dist.ProcessGroup) -> _Piece | None:
    mapping = parameter._hp_mapping
    if mapping is None:
        return None
    # ZeRO-1 in bf16 is another class than the rest, with another name for the same list.
    flats = getattr(optimizer, "single_partition_of_fp32_groups", None) or optimizer.fp32_groups_flat_partition
    held, place = mapping.hp_fragment_address, mapping.lp_fragment_address
    part = slice(place.start, place.start + place.numel)
    return _Piece(flats[mapping.param_group_index], held.start, part)


def _piece_of_stage_3(optimizer: Any, parameter: Any, dp_group: dist.ProcessGroup) -> _Piece | None:
    group, start, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
    first = size * dist.get_rank(dp_group)
    part = slice(min(first, parameter.ds_numel), min(first + size, parameter.ds_numel))
    return _Piece(optimizer.fp32_partitioned_groups_flat[group], start, part)
