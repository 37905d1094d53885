"""All valid layouts of a model on a number of devices, the fastest that fit first.

In: a PlanConfig, whose layout, micro-batch size and recomputation are only a beginning, and the hardware. Out:
Estimates, put together from probes (planning/probe.py), the first few replaced by Plans from whole dry runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeVar

from megatron_codex.config.execution import available_cores
from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.planning import PlanConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.planning.dry_run import RankRecord, clean_processes
from megatron_codex.planning.operations import Operation
from megatron_codex.planning.plan import Plan, make_plan
from megatron_codex.planning.probe import Operations, Probe, probe
from megatron_codex.planning.recording import PASSES, Collective, Kind
from megatron_codex.planning.time_model import StepTime, step_time

T = TypeVar("T", bound=Hashable)

_RECOMPUTE: tuple[Literal["none", "selective", "full"], ...] = ("none", "selective", "full")
_MICRO_BATCHES = (1, 2, 4, 8, 16)
_CHUNKS = (1, 2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A layout and what it is thought to cost."""

    config: PlanConfig
    peak_bytes: int
    time: StepTime
    plan: Plan | None = None
    """The whole dry run, where there was one; peak and time are then its."""


def search(config: PlanConfig, hardware: HardwareConfig, *, num_dry_runs: int = 3) -> list[Estimate]:
    """The layouts whose peak fits, fastest first; the first `num_dry_runs` dry-run and in the order that this gives.

    Raises: InputError when no layout divides the model and the batch, or none fits the memory.
    """
    layouts = list(valid_layouts(config, hardware))
    if not layouts:
        rule = f"no layout of {config.world_size} devices divides the model and training.global_batch_size"
        remedy = "give another number of devices, or a global batch size with more divisors"
        raise InputError("world_size", value=config.world_size, rule=rule, remedy=remedy)
    probes = _probes(layouts)
    estimates = sorted((estimate(layout, hardware, probes[_key(layout)]) for layout in layouts), key=_step_s)
    fitting = [found for found in estimates if found.peak_bytes <= hardware.usable_bytes]
    first, rest = _dry_run_first(fitting, hardware, num_dry_runs)
    if not first:
        least = min(found.peak_bytes for found in estimates)
        rule = f"no layout fits: the least peak of {len(estimates)} layouts is {least / 1e9:.3g} GB a device"
        remedy = f"{hardware.usable_bytes / 1e9:.3g} GB of a device may be filled; give more devices or memory"
        raise InputError("world_size", value=config.world_size, rule=rule, remedy=remedy)
    return [*sorted(first, key=_step_s), *rest]


def valid_layouts(config: PlanConfig, hardware: HardwareConfig) -> Iterator[PlanConfig]:
    """Every layout that the training command would take; tensor parallelism stays within a node."""
    model, world_size = config.model, config.world_size
    tensor = [n for n in range(1, min(hardware.devices_per_node, world_size) + 1) if world_size % n == 0]
    pipeline = [n for n in range(1, model.num_layers + 1) if model.num_layers % n == 0]
    for tp, pp, chunks, size, recompute in product(tensor, pipeline, _CHUNKS, _MICRO_BATCHES, _RECOMPUTE):
        if world_size % (tp * pp) or (chunks > 1 and (pp == 1 or model.num_layers % (pp * chunks))):
            continue
        if config.training.global_batch_size % size or model.seq_length % tp:
            continue
        sharded = world_size > tp * pp
        try:
            layout = replace(
                config,
                search=False,
                parallel=ParallelConfig(
                    tensor_model_parallel_size=tp,
                    pipeline_model_parallel_size=pp,
                    virtual_pipeline_model_parallel_size=chunks if chunks > 1 else None,
                    sequence_parallel=tp > 1,
                    use_distributed_optimizer=sharded,
                    overlap_grad_reduce=sharded,
                    overlap_param_gather=sharded,
                    recompute=recompute,
                ),
                training=replace(config.training, micro_batch_size=size),
            )
            layout.check_world_size(world_size)
        except ConfigError:
            continue
        yield layout


def estimate(config: PlanConfig, hardware: HardwareConfig, found: Probe) -> Estimate:
    """Put a layout's cost together from a probe of its tensor-parallel size and recomputation."""
    stages = config.parallel.pipeline_model_parallel_size
    records = [_record(config, found, stage) for stage in range(stages)]
    precision = config.training.precision
    return Estimate(
        config=config,
        peak_bytes=max(record.peak_total_bytes for record in records),
        time=step_time(records, config.parallel, hardware, precision=precision, simulated=4 * stages),
    )


def _key(config: PlanConfig) -> tuple[int, str]:
    return config.parallel.tensor_model_parallel_size, config.parallel.recompute


def _probes(layouts: list[PlanConfig]) -> dict[tuple[int, str], Probe]:
    one_of_each = {_key(layout): layout for layout in layouts}
    with clean_processes(available_cores()) as pool:
        return dict(zip(one_of_each, pool.map(probe, one_of_each.values()), strict=True))


def _dry_run_first(
    fitting: list[Estimate], hardware: HardwareConfig, count: int
) -> tuple[list[Estimate], list[Estimate]]:
    """The first `count` that a whole dry run lets fit too, and those after them that were not dry-run."""
    checked: list[Estimate] = []
    for position, found in enumerate(fitting):
        if len(checked) == count:
            return checked, fitting[position:]
        plan = make_plan(found.config, hardware)
        assert plan.time is not None
        if plan.fits:
            checked.append(replace(found, peak_bytes=plan.peak_bytes, time=plan.time, plan=plan))
    return checked, []


def _step_s(found: Estimate) -> float:
    return found.time.step_s


def _record(config: PlanConfig, found: Probe, stage: int) -> RankRecord:
    """One rank's step, as a dry run would record it."""
    parallel, training = config.parallel, config.training
    stages, chunks, size = parallel.pipeline_model_parallel_size, parallel.num_chunks, training.micro_batch_size
    data_size = config.world_size // parallel.model_parallel_size
    count = training.global_batch_size // (size * data_size)
    layers = config.model.num_layers // stages
    is_last = stage == stages - 1
    has_embedding = stage == 0 or is_last
    operations: Operations = _times(found.layer_operations, layers)
    collectives = _times(found.layer_collectives, layers)
    if is_last:  # the embedding's few operations, on the first stage, are counted here
        operations += found.end_operations
        collectives += found.end_collectives
    num_parameters = layers * found.layer_parameters + (found.end_parameters if has_embedding else 0)
    sized = Counter(
        {
            replace(c, tensor_bytes=c.tensor_bytes * size): n * (count if c.phase in PASSES else 1)
            for c, n in collectives.items()
        }
    )
    sized += _between_ranks(config, stage, num_parameters)
    sharing = data_size if parallel.use_distributed_optimizer else 1
    states = _state_bytes(config, num_parameters, data_size)
    held = _held_bytes(config, found, stage, count)
    return RankRecord(
        rank=stage * config.world_size // stages,
        stage=stage,
        num_parameters=num_parameters,
        num_microbatches=count,
        static_bytes=states,
        peak_bytes=states + Counter[Kind]({"activations": held}),
        collectives=sized,
        operations=_step_operations(operations, size=size, count=count, sharing=sharing),
        events=(),
        num_recorded_microbatches=chunks,
    )


def _step_operations(operations: Operations, *, size: int, count: int, sharing: int) -> Operations:
    """Passes take `size` samples and come `count` times; the optimizer's work is shared by `sharing` ranks."""
    found: Operations = Counter()
    for (phase, operation), calls in operations.items():
        if phase in PASSES:
            found[phase, _scaled(operation, size)] += calls * count
        else:
            found[phase, _scaled(operation, 1 / sharing)] += calls
    return found


def _times(counted: Counter[T], factor: int) -> Counter[T]:
    return Counter({key: count * factor for key, count in counted.items()})


def _scaled(operation: Operation, factor: float) -> Operation:
    return replace(
        operation,
        flops=int(operation.flops * factor),
        work_flops=operation.work_flops * factor,
        memory_bytes=int(operation.memory_bytes * factor),
    )


def _held_bytes(config: PlanConfig, found: Probe, stage: int, count: int) -> int:
    """Activations at the peak: what the micro-batches in flight keep, and what the running one holds for a moment."""
    parallel, size = config.parallel, config.training.micro_batch_size
    stages, chunks = parallel.pipeline_model_parallel_size, parallel.num_chunks
    layers = config.model.num_layers // (stages * chunks)
    in_flight = stages - stage if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages + 1
    in_flight = min(in_flight, count * chunks)
    kept = layers * found.layer_bytes + found.stage_bytes
    passing = found.passing_bytes
    if stage == stages - 1:
        passing = max(passing, found.last_passing_bytes - found.layer_bytes)
    return size * (in_flight * kept + passing)


def _state_bytes(config: PlanConfig, num_parameters: int, data_size: int) -> Counter[Kind]:
    bf16 = config.training.precision == "bf16"
    state = num_parameters * (12 if bf16 else 8) // (data_size if config.parallel.use_distributed_optimizer else 1)
    weights = num_parameters * (2 if bf16 else 4)
    return Counter({"weights": weights, "gradients": num_parameters * 4, "optimizer": state})


def _between_ranks(config: PlanConfig, stage: int, num_parameters: int) -> Counter[Collective]:
    """Collectives over the data-parallel ranks and between stages, which a probe of one copy and one stage has not."""
    parallel, training, model = config.parallel, config.training, config.model
    tensor, stages = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    apart = config.world_size // stages
    element = 2 if training.precision == "bf16" else 4
    first = stage * apart
    data = tuple(range(first, first + apart, tensor))
    found: Counter[Collective] = Counter()

    def add(group: str, operation: str, ranks: tuple[int, ...], size: int, calls: int = 1) -> None:
        found[Collective("other", group, operation, ranks, size)] += calls

    if parallel.use_distributed_optimizer:
        add("data", "reduce-scatter", data, 4 * num_parameters)
        add("data", "all-gather", data, element * num_parameters)
    else:
        add("data", "all-reduce", data, 4 * num_parameters)
    if stages > 1:
        shared = tensor if parallel.sequence_parallel else 1
        activations = element * model.seq_length * training.micro_batch_size * model.hidden_size // shared
        passes = training.global_batch_size // (training.micro_batch_size * len(data)) * parallel.num_chunks
        ends = 2 if 0 < stage < stages - 1 or parallel.interleaved else 1
        add("pipeline", "send", (first, (first + apart) % config.world_size), activations, passes * ends)
        if stage in (0, stages - 1):
            embedding = 4 * config.tokenizer.true_vocab_size * model.hidden_size // tensor
            add("embedding", "all-reduce", (0, (stages - 1) * apart), embedding)
    return found
