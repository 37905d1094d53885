"""A dry run: one process plays a rank of a run of any size, with the real model, engine, schedule and step.

In: a training configuration, a rank and the number of ranks. Out: a RankRecord of a whole step. A dry run steps through
few micro-batches: what a step sends and computes grows by the same amount with each further one, and its peak is
reached once the pipeline is full. tests/planning holds this against a dry run of all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from megatron_codex.config.execution import available_cores
from megatron_codex.config.training import TrainConfig
from megatron_codex.parallel.groups import model_parallel
from megatron_codex.planning.fake_world import fake_world
from megatron_codex.planning.operations import Operation
from megatron_codex.planning.rank import Event, StepRecord, record_steps
from megatron_codex.planning.recording import PASSES, Collective, Kind, Phase, Recorder

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class RankRecord:
    """One training step of one rank, all micro-batches."""

    rank: int
    stage: int
    """Pipeline stage of this rank, from 0."""
    num_parameters: int
    num_microbatches: int
    static_bytes: Counter[Kind]
    """Alive between steps, by kind."""
    peak_bytes: Counter[Kind]
    """Alive when the step holds most, by kind."""
    collectives: Counter[Collective]
    """How often each sort is called in a step."""
    operations: Counter[tuple[Phase, Operation]]
    """How often each sort is carried out in a step."""
    events: tuple[Event, ...]
    """The passes of the dry run, which had `num_recorded_microbatches`."""
    num_recorded_microbatches: int

    @property
    def peak_total_bytes(self) -> int:
        """Most bytes alive at a time."""
        return sum(self.peak_bytes.values())


def dry_runs(config: TrainConfig, ranks: Sequence[int], *, world_size: int) -> list[RankRecord]:
    """Play several ranks, in as many processes as there are cores.

    Raises: InputError when the layout does not fit the number of ranks.
    """
    config.check_world_size(world_size)
    workers = min(len(ranks), available_cores())
    play = partial(dry_run, config, world_size=world_size)
    if workers == 1:
        return [play(rank=rank) for rank in ranks]
    with clean_processes(workers) as pool:
        return [future.result() for future in [pool.submit(play, rank=rank) for rank in ranks]]


def clean_processes(workers: int) -> ProcessPoolExecutor:
    """Processes forked from one that has imported torch and megatron-core, and computed nothing: forks of a process in
    which torch's threads have run can wait for them for ever."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(workers, mp_context=context)


def dry_run(config: TrainConfig, *, rank: int, world_size: int) -> RankRecord:
    """Play one rank of a step.

    Raises: InputError when the layout does not fit the number of ranks.
    """
    config.check_world_size(world_size)
    recorder = Recorder(dry_run=True)
    with fake_world(rank=rank, world_size=world_size), model_parallel(config.parallel) as layout, recorder:
        whole = config.training.global_batch_size // (config.training.micro_batch_size * layout.dp_size)
        few, more = _recorded_microbatches(config, stage=layout.pp_rank, num_microbatches=whole)
        # The first step makes the optimizer's state, and reduces gradients at its end even where later steps overlap.
        _, first, second = record_steps(config, layout, recorder, num_microbatches=(few, few, more))
    return RankRecord(
        rank=rank,
        stage=layout.pp_rank,
        num_parameters=second.num_parameters,
        num_microbatches=whole,
        static_bytes=second.static_bytes,
        peak_bytes=_with_further_batches(second, whole),
        collectives=_continued(first.collectives, second.collectives, (few, more, whole)),
        operations=_continued(_passes(first), _passes(second), (few, more, whole)) + _outside_passes(second),
        events=second.events,
        num_recorded_microbatches=more,
    )


def _recorded_microbatches(config: TrainConfig, *, stage: int, num_microbatches: int) -> tuple[int, int]:
    """Micro-batches of the two steps: one (or one group of the interleaved schedule), and one more than are in flight
    on this stage at a time."""
    stages = config.parallel.pipeline_model_parallel_size
    if config.parallel.interleaved:
        return stages, min(num_microbatches, 2 * stages)
    return 1, min(num_microbatches, stages - stage + 1)


def _with_further_batches(record: StepRecord, num_microbatches: int) -> Counter[Kind]:
    peak = record.peak_bytes.copy()
    peak["buffers"] += (num_microbatches - record.num_microbatches) * record.batch_bytes
    return peak


def _passes(record: StepRecord) -> Counter[tuple[Phase, Operation]]:
    return Counter({key: count for key, count in record.operations.items() if key[0] in PASSES})


def _outside_passes(record: StepRecord) -> Counter[tuple[Phase, Operation]]:
    """Operations once a step. A few of them read all micro-batches' losses, and are as short whatever their number."""
    return record.operations - _passes(record)


def _continued(first: Counter[T], second: Counter[T], counts: tuple[int, int, int]) -> Counter[T]:
    """Counts of `whole` micro-batches from those of `few` and `more`: a part for each micro-batch, and a rest."""
    few, more, whole = counts
    if few == more:
        return second.copy()
    continued: Counter[T] = Counter()
    for key in first.keys() | second.keys():
        each, remainder = divmod(second[key] - first[key], more - few)
        assert remainder == 0, f"{key}: {first[key]} of {few} micro-batches, {second[key]} of {more}"
        continued[key] = second[key] + (whole - more) * each
    return continued
