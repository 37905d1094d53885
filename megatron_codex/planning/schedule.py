"""The pipeline's schedule as data: which pass each stage runs when, how long a step takes, how much of it is bubble.

In: the layout's stages, chunks and micro-batches, and how long a pass takes. Out: a Timeline. The order of passes is
megatron-core's (1F1B, interleaved); tests/planning holds it against the passes that its schedule makes in a dry run.

Source: arXiv 2104.04473, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """A forward or backward pass of one micro-batch through one chunk of layers."""

    forward: bool
    chunk: int
    microbatch: int


@dataclass(frozen=True, kw_only=True)
class PassTimes:
    """How long a stage takes for a pass through one chunk, in seconds."""

    forward_s: float
    backward_s: float


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A pass and when it ran, in seconds from the step's begin."""

    run: Pass
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Every stage's passes of a step."""

    stages: tuple[tuple[Timed, ...], ...]

    @property
    def duration_s(self) -> float:
        """From the first pass to the end of the last."""
        return max(stage[-1].end_s for stage in self.stages)

    @property
    def bubble(self) -> float:
        """Share of all stages' time in which a stage waits."""
        busy = sum(timed.end_s - timed.start_s for stage in self.stages for timed in stage)
        return max(0.0, 1 - busy / (len(self.stages) * self.duration_s))


def stage_passes(stage: int, *, stages: int, chunks: int, num_microbatches: int) -> list[Pass]:
    """The passes of one stage in their order. With several chunks, micro-batches come in multiples of the stages."""
    if chunks == 1:
        forward = [(0, microbatch) for microbatch in range(num_microbatches)]
        warmup = stages - stage - 1
    else:
        groups = range(0, num_microbatches, stages)
        forward = [(chunk, first + n) for first in groups for chunk in range(chunks) for n in range(stages)]
        warmup = 2 * (stages - stage - 1) + (chunks - 1) * stages
    warmup = min(warmup, len(forward))
    backward = [(chunks - 1 - chunk, microbatch) for chunk, microbatch in forward]
    passes = [Pass(True, *which) for which in forward[:warmup]]
    for ahead, behind in zip(forward[warmup:], backward, strict=False):
        passes += [Pass(True, *ahead), Pass(False, *behind)]
    return passes + [Pass(False, *which) for which in backward[len(forward) - warmup :]]


def timeline(times: Sequence[PassTimes], *, chunks: int, num_microbatches: int, send_s: float = 0.0) -> Timeline:
    """Run the schedule: a pass starts when its stage is free and what it needs has arrived.

    times: of each stage. send_s: from the end of a pass until the next stage has its output.
    """
    stages = len(times)
    waiting = [
        stage_passes(stage, stages=stages, chunks=chunks, num_microbatches=num_microbatches)[::-1]
        for stage in range(stages)
    ]
    done: list[list[Timed]] = [[] for _ in times]
    ended: dict[tuple[int, Pass], float] = {}
    while any(waiting):
        before = len(ended)
        for stage, passes in enumerate(waiting):
            while passes:
                needed = _needed(stage, passes[-1], stages=stages, chunks=chunks)
                if needed is not None and needed not in ended:
                    break
                arrived = 0.0 if needed is None else ended[needed] + (send_s if needed[0] != stage else 0.0)
                run = passes.pop()
                start = max(arrived, done[stage][-1].end_s if done[stage] else 0.0)
                end = start + (times[stage].forward_s if run.forward else times[stage].backward_s)
                done[stage].append(Timed(run=run, start_s=start, end_s=end))
                ended[stage, run] = end
        assert len(ended) > before, "the schedule waits for itself"
    return Timeline(stages=tuple(tuple(stage) for stage in done))


def _needed(stage: int, run: Pass, *, stages: int, chunks: int) -> tuple[int, Pass] | None:
    """The stage and pass whose output this pass takes; None for the first forward pass of a micro-batch."""
    step = -1 if run.forward else 1
    neighbour, chunk = stage + step, run.chunk
    if neighbour in (-1, stages):
        neighbour, chunk = neighbour % stages, chunk + step
    if chunk == -1:
        return None
    if chunk == chunks:  # the last stage's own forward pass gives the loss
        return stage, Pass(True, run.chunk, run.microbatch)
    return neighbour, Pass(run.forward, chunk, run.microbatch)
