"""One training step, and one evaluation: forward and backward through the engine, loss over all ranks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist

from megatron_codex.errors import InputError, WorkError
from megatron_codex.parallel.groups import Layout
from megatron_codex.training.batches import GlobalBatches, StepBatch
from megatron_codex.training.engine import TrainingEngine


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

    @property
    def declined(self) -> bool:
        """Whether the batch had something to train on, and the weights were left as they were."""
        return self.loss is not None and self.grad_norm is None


def train_step(
    engine: TrainingEngine,
    batches: GlobalBatches,
    layout: Layout,
    *,
    step: int,
    learning_rate: float,
    vocab_size: int,
    accepts: Callable[[float], bool] | None = None,
) -> StepResult:
    """Train on the global batch of `step`, counted from 0. A batch without an unmasked token changes nothing.

    accepts: whether to update the weights on a batch of this loss; none: on every one whose loss is finite.

    Raises: WorkError naming the step when the loss or the gradient is not finite.
    """
    batch = batches.at(step)
    num_tokens, num_padding = _count(batch, layout, vocab_size)
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
    grad_norm = engine.update(learning_rate)
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
        batch = batches.at(number)
        num_tokens, _ = _count(batch, layout, vocab_size)
        if num_tokens:
            total += _run(engine, batch, layout, num_tokens, forward_only=True)
            count += num_tokens
    engine.train_mode(True)
    return total / count if count else None


def _count(batch: StepBatch, layout: Layout, vocab_size: int) -> tuple[int, int]:
    """(unmasked tokens, positions of padding) of the global batch.

    Raises: InputError, on all ranks, when any of them has a token beyond the vocabulary.
    """
    counts = torch.tensor([batch.num_loss_tokens, batch.num_padding, int(batch.largest_token >= vocab_size)])
    if layout.dp_size > 1:
        counts = counts.to(batch.micro_batches[0].tokens.device)
        dist.all_reduce(counts, group=layout.dp_group)
    num_tokens, num_padding, num_faulty = counts.tolist()
    if num_faulty:
        raise InputError(
            "data",
            rule=f"has token ids beyond the vocabulary of {vocab_size}",
            remedy="train with the tokenizer section that the data was made with",
        )
    return int(num_tokens), int(num_padding)


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
