"""One rank's training steps, recorded: the engine and the step that training itself runs.

In: a configuration, and a Recorder. Out: what each step held, sent and computed. The rank is one of a real run (gloo,
on a CPU) or is played by a process alone (planning/dry_run.py); nothing here knows which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from megatron_codex.config.training import TrainConfig
from megatron_codex.data.batch import Batch
from megatron_codex.parallel.groups import Layout
from megatron_codex.planning.operations import Operation
from megatron_codex.planning.recording import Collective, Kind, Phase, Recorder
from megatron_codex.platform.megatron_core import schedules
from megatron_codex.training.batches import GlobalBatches, run_batches
from megatron_codex.training.engine import Engine, build_engine
from megatron_codex.training.randomness import seed_step
from megatron_codex.training.step import train_step


@dataclass(frozen=True, kw_only=True)
class Event:
    """One pass of the schedule on this rank."""

    forward: bool
    live_bytes: int
    """Alive when it ended."""
    peak_bytes: int
    """Most alive at a time while it ran."""


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One training step of one rank."""

    num_microbatches: int
    before_bytes: int
    """Alive before the step."""
    static_bytes: Counter[Kind]
    """Alive between steps, by kind."""
    peak_bytes: Counter[Kind]
    """Alive when the step held most, by kind."""
    collectives: Counter[Collective]
    operations: Counter[tuple[Phase, Operation]]
    events: tuple[Event, ...]
    num_parameters: int
    """Of this rank's model chunks."""
    batch_bytes: int
    """Bytes of one micro-batch's inputs; a step holds all of its micro-batches' from beginning to end."""


class FullRows:
    """A source whose every sample fills the model's positions: the most that a step can hold."""

    def __init__(self, config: TrainConfig) -> None:
        self._length = config.model.seq_length
        self._documents = config.task != "base" or config.data.reset_attention_at_documents

    def __len__(self) -> int:
        return 1 << 40

    def sequence_length(self, indices: Sequence[int]) -> int:
        """The model's positions."""
        return self._length

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Batch:
        """One document a row; its ids are given where the task gives them, for they cost an attention mask."""
        tokens = np.zeros((len(indices), seq_length), np.int64)
        positions = np.broadcast_to(np.arange(seq_length), tokens.shape).copy()
        documents = tokens.copy() if self._documents else None
        mask = np.ones(tokens.shape, np.float32)
        return Batch(tokens=tokens, labels=tokens, loss_mask=mask, position_ids=positions, document_ids=documents)

    def fingerprint(self) -> str:
        """Of no data."""
        return ""


def record_steps(
    config: TrainConfig, layout: Layout, recorder: Recorder, *, num_microbatches: Sequence[int]
) -> list[StepRecord]:
    """Build this rank's engine and run one step for each number of micro-batches, while `recorder` is active.

    The first step makes the optimizer's state; from the second on steps are alike.
    """
    seed_step(config.training.seed, 0, layout)
    engine = build_engine(config)
    return [_step(config, layout, engine, recorder, count) for count in num_microbatches]


def _step(config: TrainConfig, layout: Layout, engine: Engine, recorder: Recorder, count: int) -> StepRecord:
    events: list[Event] = []

    def forward_backward(*args: Any, **kwargs: Any) -> Any:
        outcome = engine.forward_backward(*args, **kwargs)
        recorder.phase = "optimizer"
        return outcome

    _label(recorder, engine)
    recorder.restart()
    before_bytes = recorder.total_bytes
    batches = _batches(config, layout, count)
    with _watched_schedule(recorder, events):
        watched = replace(engine, forward_backward=forward_backward)
        vocab_size = config.tokenizer.true_vocab_size
        train_step(watched, batches, layout, step=0, learning_rate=1e-6, vocab_size=vocab_size)
    recorder.phase = "other"
    _label(recorder, engine)
    return StepRecord(
        num_microbatches=count,
        before_bytes=before_bytes,
        static_bytes=recorder.live_bytes.copy(),
        peak_bytes=recorder.peak_bytes.copy(),
        collectives=recorder.collectives.copy(),
        operations=recorder.operations.copy(),
        events=tuple(events),
        num_parameters=sum(parameter.numel() for chunk in engine.chunks for parameter in chunk.parameters()),
        batch_bytes=_batch_bytes(config),
    )


def _batches(config: TrainConfig, layout: Layout, count: int) -> GlobalBatches:
    batches = run_batches(config, FullRows(config), layout)
    size = count * batches.micro_batch_size * batches.dp_size
    return replace(batches, order=lambda positions: positions, global_batch_size=size)


def _batch_bytes(config: TrainConfig) -> int:
    size, length = config.training.micro_batch_size, config.model.seq_length
    batch = FullRows(config).batch(range(size), seq_length=length)
    arrays = (batch.tokens, batch.labels, batch.loss_mask, batch.position_ids)
    mask = 0
    if batch.document_ids is not None:
        by_left_padding = run_batches(config, FullRows(config), None).by_left_padding
        mask = 4 * size if by_left_padding else size * length * length
    return sum(array.nbytes for array in arrays) + mask


def _label(recorder: Recorder, engine: Engine) -> None:
    """Say what is optimizer state, gradient and weight; a storage that is two of them is the later one. What a forward
    pass left behind for the next step (megatron-core's communication buffers) is no activation."""
    recorder.label_all("activations", "buffers")
    for optimizer in engine.optimizer.chained_optimizers:
        base = optimizer.optimizer
        for group in base.param_groups:
            recorder.label(group["params"], "optimizer")
        for state in base.state.values():
            recorder.label([value for value in state.values() if isinstance(value, torch.Tensor)], "optimizer")
    for chunk in engine.chunks:
        buffers = (*chunk.buffers, *chunk.expert_parallel_buffers)
        recorder.label([buffer.grad_data for buffer in buffers], "gradients")
        recorder.label(chunk.parameters(), "weights")


@contextmanager
def _watched_schedule(recorder: Recorder, events: list[Event]) -> Iterator[None]:
    """Tell the recorder of the passes that megatron-core's schedule makes, and note how much was alive in each."""

    def watched(function: Callable[..., Any], phase: Phase) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            recorder.phase = phase
            highest = recorder.watch()
            outcome = function(*args, **kwargs)
            recorder.phase = "other"
            events.append(Event(forward=phase == "forward", live_bytes=recorder.total_bytes, peak_bytes=highest()))
            return outcome

        return run

    with ExitStack() as stack:
        names: tuple[tuple[str, Phase], ...] = (("forward_step", "forward"), ("backward_step", "backward"))
        for name, phase in names:
            stack.enter_context(patch.object(schedules, name, watched(getattr(schedules, name), phase)))
        yield
