"""One training step, and one evaluation: forward and backward through the engine, loss over all ranks.

Before a step all ranks add up a few numbers: tokens, and what speaks against taking it. A rank that cannot read its
samples, and one that was told to stop, is thus known to all of them while the state is still that of the step before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist

from megatron_codex.errors import InputError, StoppedError, WorkError
from megatron_codex.parallel.groups import Layout
from megatron_codex.training.bad_gradients import name_origin
from megatron_codex.training.batches import GlobalBatches, StepBatch
from megatron_codex.training.engine import BadGradientError, TrainingEngine


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step did, equal on all ranks. loss and grad_norm are None for a step without a token to train on;
    grad_norm alone for one whose update was declined."""

    loss: float | None
    grad_norm: float | None
    num_tokens: int
    """Unmasked tokens of the global batch."""
    seq_length: int
    """Positions of a sample, padding included."""
    num_positions: int
    """Positions of the global batch, padding included."""
    num_padding: int
    """Positions of the global batch that hold no document."""
    bad_gradient: str | None = None
    """Of a declined step whose gradient was not finite, though its loss was: the norm, and the ranks it comes from."""

    @property
    def declined(self) -> bool:
        """Whether the batch had something to train on, and the weights were left as they were."""
        return self.loss is not None and self.grad_norm is None


class RefusedStepError(Exception):
    """A step was not taken, on any rank: the state is sound, and that of the step before it."""

    def __init__(self, reason: InputError | WorkError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def train_step(
    engine: TrainingEngine,
    batches: GlobalBatches,
    layout: Layout,
    *,
    step: int,
    learning_rate: float,
    vocab_size: int,
    accepts: Callable[[float], bool] | None = None,
    stop_asked: bool = False,
) -> StepResult:
    """Train on the global batch of `step`, counted from 0. A batch without an unmasked token changes nothing.

    accepts: whether to update the weights on a batch of this loss, or of this norm of its gradient where that is not
    finite; none: on every one whose loss and gradient are finite. stop_asked: this rank was told to stop.

    Raises: RefusedStepError, on all ranks, when any of them cannot read its samples or was told to stop, or when the
    gradient is not finite though the loss is; WorkError when the loss is not finite. Both name the step.
    """
    try:
        batch, num_tokens, num_padding = _agreed_batch(batches, layout, step, vocab_size, stop_asked=stop_asked)
    except (InputError, WorkError) as error:
        raise RefusedStepError(error) from error
    result = StepResult(
        loss=None,
        grad_norm=None,
        num_tokens=num_tokens,
        seq_length=batch.seq_length,
        num_positions=batch.num_positions,
        num_padding=num_padding,
    )
    if num_tokens == 0:
        return result
    engine.zero_gradients()
    loss = _run(engine, batch, layout, num_tokens, forward_only=False) / num_tokens
    if accepts is not None and not accepts(loss):
        return replace(result, loss=loss)
    _require_finite("loss", loss, step)
    try:
        grad_norm = engine.update(learning_rate)
    except BadGradientError as error:
        reason = f"{error}; {name_origin(engine, batch, num_tokens=num_tokens)}"
        if accepts is not None and not accepts(error.norm):
            return replace(result, loss=loss, bad_gradient=reason)
        remedy = "give training.loss_spike_factor to skip such steps, or look at this step's samples with the same seed"
        raise RefusedStepError(WorkError(f"step {step + 1}: {reason}; training stops; {remedy}")) from error
    _require_finite("gradient norm", grad_norm, step)
    return replace(result, loss=loss, grad_norm=grad_norm)


@torch.no_grad()
def evaluate(
    engine: TrainingEngine, batches: GlobalBatches, layout: Layout, *, num_batches: int, vocab_size: int
) -> float | None:
    """Mean loss of the validation samples' unmasked tokens; None when there is no such token."""
    engine.train_mode(False)
    total, count = 0.0, 0
    for number in range(num_batches):
        batch, num_tokens, _ = _agreed_batch(batches, layout, number, vocab_size)
        if num_tokens:
            total += _run(engine, batch, layout, num_tokens, forward_only=True)
            count += num_tokens
    engine.train_mode(True)
    return total / count if count else None


def _agreed_batch(
    batches: GlobalBatches, layout: Layout, step: int, vocab_size: int, *, stop_asked: bool = False
) -> tuple[StepBatch, int, int]:
    """(this rank's share, unmasked tokens of the global batch, its positions of padding).

    Raises, on all ranks: StoppedError when any of them was told to stop, InputError when any of them has a token beyond
    the vocabulary, InputError or WorkError that names the rank which cannot read its samples.
    """
    batch, fault = _read(batches, step)
    counts = torch.tensor([0, 0, 0, int(fault is not None), int(stop_asked)])
    if batch is not None:
        counts[:3] = torch.tensor([batch.num_loss_tokens, batch.num_padding, int(batch.largest_token >= vocab_size)])
    if layout.world_size > 1:
        counts = counts.to(batches.device)
        dist.all_reduce(counts)
    num_tokens, num_padding, num_faulty, num_unread, num_asked = (int(count) for count in counts.tolist())
    if num_unread:
        _raise_read_fault(fault, layout, step)
    if num_faulty:
        raise InputError(
            "data",
            rule=f"has token ids beyond the vocabulary of {vocab_size}",
            remedy="train with the tokenizer section that the data was made with",
        )
    if num_asked:
        raise StoppedError(f"{num_asked} of {layout.world_size} ranks were told by a signal to stop")
    assert batch is not None
    replicas = layout.world_size // layout.dp_size  # which all have the same share
    return batch, -(-num_tokens // replicas), -(-num_padding // replicas)


def _read(batches: GlobalBatches, step: int) -> tuple[StepBatch | None, InputError | OSError | None]:
    """This rank's share of a batch, or why it cannot be read."""
    try:
        return batches.at(step), None
    except (InputError, OSError) as error:
        return None, error


def _raise_read_fault(fault: InputError | OSError | None, layout: Layout, step: int) -> None:
    """Raise, on all ranks, what the first rank that could not read its samples met. Collective."""
    faults: list[Any] = [None] * layout.world_size
    mine = None if fault is None else (" ".join(str(fault).split()), isinstance(fault, InputError))
    if layout.world_size > 1:
        dist.all_gather_object(faults, mine)
    else:
        faults = [mine]
    rank, (message, is_input) = next((rank, found) for rank, found in enumerate(faults) if found is not None)
    rule = f"rank {rank} cannot read the samples of step {step + 1}: {message}"
    if is_input:
        raise InputError("data", rule=rule, remedy="mend these data, and run the same command again")
    raise WorkError(f"data: {rule}; see that its node reads the files, and run the same command again")


def _run(engine: TrainingEngine, batch: StepBatch, layout: Layout, num_tokens: int, *, forward_only: bool) -> float:
    """Run all micro-batches; the sum of the global batch's unmasked losses, on every rank."""
    sums = engine.run(batch, num_tokens=num_tokens, forward_only=forward_only)
    # Every tensor-parallel rank of the last stage has the sums; one of them counts.
    counts = layout.is_last_stage and layout.tp_rank == 0
    total = torch.stack(sums).double().sum() if counts else torch.zeros((), dtype=torch.float64)
    if layout.world_size > 1:
        total = total.to(batch.micro_batches[0].tokens.device)
        dist.all_reduce(total)
    return float(total)


def _require_finite(what: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise WorkError(
            f"step {step + 1}: {what} is {value}; training stops and the last checkpoint stays; "
            "lower optimizer.lr, or look at this step's samples with the same seed"
        )
