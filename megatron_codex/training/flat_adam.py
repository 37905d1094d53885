"""The optimizer `flat_adam`: AdamW by one operation over whole stretches of memory instead of one for each tensor.

In: megatron-core's optimizer, with FlatAdam as the Adam inside it. Out: its step, which clips, updates fp32 weights and
writes the model's bf16 ones in one pass (ops/flat_adam.py). megatron-core sums gradients over ranks and computes their
norm, since it knows which tensors several ranks hold copies of.

Gradients lie one after the other in megatron-core's buffer. Weights and means are brought into the same order, so that
a few stretches hold everything; where the weights lie is fixed, in the distributed optimizer's buffer, a stretch ends
at each of its gaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops.flat_adam import PLAN_SIZE, flat_adam_plan_, flat_adam_step_
from megatron_codex.platform.megatron_core import DistributedOptimizer

_MEANS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Tensors that lie one after the other, as one, in each of the buffers."""

    gradients: Tensor
    master: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    parameters: Tensor | None
    segment_ends: Tensor
    weight_decays: Tensor


class FlatAdam(torch.optim.Optimizer):
    """AdamW in the form megatron-core builds Adam in (that of Apex): one count of steps for each group."""

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        eps: float,
        adam_w_mode: bool,
    ) -> None:
        assert adam_w_mode, "decay is decoupled here"
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps, "step": 0})
        self._copies: dict[Tensor, Tensor] = {}
        self._may_move = True
        self._stretches: list[_Stretch] = []
        self._layout: tuple[Any, ...] = ()
        self._norm, self._clip_grad = 0.0, 0.0

    def write_copies(self, copies: dict[Tensor, Tensor], *, may_move: bool) -> None:
        """copies: fp32 weight -> the model's own, to be written with it. may_move: whether both may be laid
        elsewhere."""
        self._copies, self._may_move = copies, may_move

    def clip(self, norm: float, *, clip_grad: float) -> None:
        """Tell the next step the norm of the whole model's gradient; a norm that is not finite makes it change
        nothing."""
        self._norm, self._clip_grad = norm, clip_grad

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of all weights that have gradients."""
        self._lay_out()
        group = self.param_groups[0]
        adam = {"lr": group["lr"], "betas": group["betas"]}
        for stretch in self._stretches:
            device = stretch.master.device
            square_sum = torch.full((1,), self._norm**2, dtype=torch.float64, device=device)
            count = torch.full((1,), group["step"], dtype=torch.int64, device=device)
            plan = torch.empty(PLAN_SIZE, dtype=torch.float32, device=device)
            flat_adam_plan_(square_sum, count, plan, clip_grad=self._clip_grad, **adam)
            flat_adam_step_(
                stretch.gradients,
                stretch.master,
                stretch.exp_avg,
                stretch.exp_avg_sq,
                stretch.parameters,
                segment_ends_S=stretch.segment_ends,
                weight_decays_S=stretch.weight_decays,
                plan=plan,
                eps=group["eps"],
                **adam,
            )
        if math.isfinite(self._norm):
            for each in self.param_groups:
                each["step"] += 1

    def _lay_out(self) -> None:
        """Find the stretches, unless all lies where it did in the last step."""
        first = self.param_groups[0]
        for group in self.param_groups[1:]:
            same = all(group[name] == first[name] for name in ("lr", "betas", "eps", "step"))
            assert same, "groups differ in their decay only"
        decays = {
            weight: group["weight_decay"]
            for group in self.param_groups
            for weight in group["params"]
            if weight.grad is not None and weight.numel()
        }
        if self._places(decays) == self._layout:
            return
        self._stretches = [self._stretch(weights, decays) for weights in self._neighbours(list(decays))]
        self._layout = self._places(decays)

    def _places(self, decays: dict[Tensor, float]) -> tuple[Any, ...]:
        places = []
        for weight, decay in decays.items():
            means = [self.state[weight].get(name) for name in _MEANS]
            tensors = [weight, weight.grad, self._copies.get(weight), *means]
            places.append((decay, *(None if x is None else (*_place(x), x.stride()) for x in tensors)))
        return tuple(places)

    def _neighbours(self, weights: list[Tensor]) -> list[list[Tensor]]:
        """Weights in the order of their gradients, parted where something that may not be moved has a gap."""
        parts: list[list[Tensor]] = []
        for weight in sorted(weights, key=lambda weight: _place(_gradient(weight))):
            if not parts or not self._follows(parts[-1][-1], weight):
                parts.append([])
            parts[-1].append(weight)
        return parts

    def _follows(self, before: Tensor, weight: Tensor) -> bool:
        pairs = [(_gradient(before), _gradient(weight))]
        if not self._may_move:
            pairs.append((before, weight))
            copies = self._copies.get(before), self._copies.get(weight)
            if (copies[0] is None) != (copies[1] is None):
                return False
            if copies[0] is not None and copies[1] is not None:
                pairs.append((copies[0], copies[1]))
        return all(_adjacent(first, second) for first, second in pairs)

    def _stretch(self, weights: Sequence[Tensor], decays: dict[Tensor, float]) -> _Stretch:
        device = weights[0].device
        for weight in weights:
            for name in _MEANS:
                self.state[weight].setdefault(name, torch.zeros_like(weight, dtype=torch.float32))
        means = {name: _joined([self.state[weight][name] for weight in weights]) for name in _MEANS}
        copies = [self._copies[weight] for weight in weights if weight in self._copies]
        assert len(copies) in (0, len(weights)), "a model's weights are all of one dtype"
        ends = torch.tensor([weight.numel() for weight in weights]).cumsum(0)
        return _Stretch(
            gradients=_joined([_gradient(weight) for weight in weights]),
            master=_joined(weights),
            parameters=_joined(copies) if copies else None,
            segment_ends=ends.to(device),
            weight_decays=torch.tensor([decays[weight] for weight in weights], dtype=torch.float32).to(device),
            **means,
        )


def fuse(optimizer: Any) -> FlatAdam:
    """Let FlatAdam write the model's bf16 weights itself, inside this optimizer of megatron-core's."""
    adam: FlatAdam = optimizer.optimizer
    distributed = isinstance(optimizer, DistributedOptimizer)
    copies = _distributed_copies(optimizer) if distributed else _plain_copies(optimizer)
    adam.write_copies(copies, may_move=not distributed)
    if copies:
        optimizer._copy_main_params_to_model_params = _nothing_to_copy
    return adam


def _nothing_to_copy() -> None:
    """FlatAdam's step has written the model's weights."""


def _plain_copies(optimizer: Any) -> dict[Tensor, Tensor]:
    """fp32 weight -> bf16 weight; none where the model itself is fp32."""
    mains, models = (getattr(optimizer, name, []) for name in ("fp32_from_float16_groups", "float16_groups"))
    return {main: model for pair in zip(mains, models, strict=True) for main, model in zip(*pair, strict=True)}


def _distributed_copies(optimizer: Any) -> dict[Tensor, Tensor]:
    """fp32 weight -> its part of the buffer of bf16 weights that is gathered after the step."""
    copies = {}
    groups = zip(optimizer.shard_fp32_from_float16_groups, optimizer.model_float16_groups, strict=True)
    for mains, models in groups:
        for main, model in zip(mains, models, strict=True):
            bounds = optimizer._get_model_param_range_map(model)["gbuf_world_in_bucket"]
            number, _, bucket = optimizer.model_param_gbuf_map[model]
            held = optimizer.buffers[number].buckets[bucket].param_data.view(-1)
            copies[main] = held[bounds.start : bounds.end]
    return copies


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None
    return weight.grad


def _place(tensor: Tensor) -> tuple[int, int]:
    """A tensor's storage and where in it the tensor begins. No address: in a dry run there is none."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset())


def _adjacent(first: Tensor, second: Tensor) -> bool:
    (storage, begin), following = _place(first), _place(second)
    alike = first.dtype == second.dtype and first.is_contiguous() and second.is_contiguous()
    return alike and following == (storage, begin + first.numel())


@torch.no_grad()
def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """One flat tensor that all of these are parts of, in this order: laid out anew where they are not neighbours."""
    total = sum(tensor.numel() for tensor in tensors)
    if not (tensors[0].is_contiguous() and all(_adjacent(first, second) for first, second in pairwise(tensors))):
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.data = part.view(tensor.shape)
    return tensors[0].detach().as_strided((total,), (1,))
