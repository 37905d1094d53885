"""Dropout in a layout: what can be equal is, and what must differ does.

In: how to build the layout's run with dropout on. Out: Checks.

A mask belongs to the rank that draws it: over heads, stages and samples other ranks draw other numbers, so with dropout
on, a layout's loss equals one rank's on average only and is not compared. What is compared:

* the same step twice: every gradient to the last bit, for resuming depends on it;
* the same samples in the next step: other numbers, so every parameter's gradient is another;
* activations computed again (recompute) and kept: equal gradients, so the backward pass saw the forward pass's masks;
* copies of one parameter: equal gradients to the last bit, so ranks that hold equal activations drew equal masks;
* generators: ranks that hold equal activations have equal ones, and all others different ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_codex.config.verify import VerifyConfig
from megatron_codex.parallel.verify_compare import Check, Difference, check_copies, check_tensors
from megatron_codex.parallel.verify_pieces import Piece, full_tensors, gather_pieces
from megatron_codex.platform.megatron_core import get_cuda_rng_tracker
from megatron_codex.training.batches import GlobalBatches, StepBatch
from megatron_codex.training.checkpoint import Progress
from megatron_codex.training.loop import Run, take_step
from megatron_codex.training.verify_one_rank import TOLERANCES
from megatron_codex.training.verify_steps import before_updates, gradient_pieces


@dataclass(frozen=True)
class _Generators:
    """Hashes of a rank's random states after a forward and backward pass."""

    replica: tuple[int, int]
    """Pipeline and data-parallel rank: tensor-parallel ranks share them."""
    common: str
    """Of what tensor-parallel ranks draw alike."""
    own: str
    """Of what each of them draws for itself."""


def check_dropout(build: Callable[..., Run], config: VerifyConfig) -> list[Check]:
    """The checks above, on rank 0. build: of the layout's run, dropout on; takes recompute=False. Collective."""
    run = build()
    first, generators = _gradients(run, step=0)
    if not generators:
        return []  # nothing to train on in the first batch, on any rank
    again, _ = _gradients(run, step=0)
    following, next_generators = _gradients(run, step=1)
    kept = None
    if config.parallel.recompute != "none":
        del run
        kept, _ = _gradients(build(recompute=False), step=0)
    if not first:
        return []
    tolerance = TOLERANCES[config.training.precision].gradient
    checks = [
        check_copies("dropout: copies of gradients", first),
        check_tensors("dropout: step repeated", again, full_tensors(first), tolerance=0.0, other="the first run"),
        _all_differ("dropout: next step", following, first),
        _generators_as_due("dropout: generators", generators, next_generators),
    ]
    if kept is not None:
        what = f"dropout: {config.parallel.recompute} recompute"
        checks.append(check_tensors(what, first, full_tensors(kept), tolerance=tolerance, other="the run without"))
    return checks


@dataclass(frozen=True)
class _OneBatch:
    """The first batch in every step."""

    batches: GlobalBatches

    @property
    def device(self) -> str:
        return self.batches.device

    def at(self, step: int) -> StepBatch:
        return self.batches.at(0)


def _gradients(run: Run, *, step: int) -> tuple[list[Piece], list[_Generators]]:
    """Gradients of a step on the first batch, on rank 0, and random states, on all ranks; weights stay. Collective."""
    pieces: list[Piece] = []
    generators: list[_Generators] = []

    def gather() -> None:
        pieces.extend(gather_pieces(gradient_pieces(run.engine)))
        own = get_cuda_rng_tracker().get_states()["model-parallel-rng"]
        layout = run.layout
        mine = _Generators((layout.pp_rank, layout.dp_rank), _hash(torch.cuda.get_rng_state()), _hash(own))
        gathered: list[Any] = [None] * layout.world_size
        dist.all_gather_object(gathered, mine)
        generators.extend(gathered)

    with before_updates(run.engine, gather, update=False):
        take_step(replace(run, train=_OneBatch(run.train)), step, Progress())  # type: ignore[arg-type]
    return pieces, generators


def _hash(state: Tensor) -> str:
    return hashlib.sha256(state.cpu().numpy().tobytes()).hexdigest()


def _all_differ(what: str, pieces: Sequence[Piece], others: Sequence[Piece]) -> Check:
    """Whether no rank's gradients are those of another step's masks: 0 when all differ, 1 when one does not. Parts that
    are 0 in any step (rows of vocabulary padding, positions that no sample has) say nothing."""
    before = full_tensors(others)
    for piece in pieces:
        if piece.data.any() and torch.equal(piece.data.double(), piece.of(before[piece.name])):
            value = float(piece.data.flatten()[0])
            same = Difference(
                what=f"{what} has the masks of the step before",
                name=piece.name,
                rank=piece.rank,
                place=piece.place(0),
                got=value,
                expected=value,
                relative=1.0,
                tolerance=0.0,
                other="the step before",
            )
            return Check(what=what, largest=1.0, tolerance=0.0, at=piece.name, first=same)
    return Check(what=what, largest=0.0, tolerance=0.0, at="all gradients are others")


def _generators_as_due(what: str, first: Sequence[_Generators], following: Sequence[_Generators]) -> Check:
    """Whether equal and different random states stand where they should: the first rank where they do not."""
    for rank, held in enumerate(first):
        for other, another in enumerate(first[:rank]):
            alike = held.replica == another.replica
            if (held.common == another.common) != alike:
                rule = "differ from" if alike else "are also"
                return _broken(what, f"random numbers of hidden dropout {rule} those of rank {other}", rank)
            if held.own == another.own:
                return _broken(what, f"random numbers of attention dropout are also those of rank {other}", rank)
        if held.common == following[rank].common or held.own == following[rank].own:
            return _broken(what, "random numbers are also those of the next step", rank)
    return Check(what=what, largest=0.0, tolerance=0.0, at=f"{len(first)} ranks, 2 steps")


def _broken(what: str, name: str, rank: int) -> Check:
    difference = Difference(
        what=what, name=name, rank=rank, place=(), got=1.0, expected=0.0, relative=1.0, tolerance=0.0, other="the rule"
    )
    return Check(what=what, largest=1.0, tolerance=0.0, at=name, first=difference)
