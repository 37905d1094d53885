"""How long a recorded step takes on some hardware: a roofline for operations, link speeds for collectives.

In: a RankRecord of each pipeline stage and the hardware. Out: a StepTime. Operations of a rank run one after the other,
each as long as its work or its memory traffic takes, whichever is more. Tensor-parallel collectives stand in the way of
the pass they belong to. Of data-parallel ones only what overlapping leaves over counts. Nothing here was measured on a
GPU; docs/planning.md compares it with published runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.planning.dry_run import RankRecord
from megatron_codex.planning.operations import Operation
from megatron_codex.planning.recording import Collective, Phase
from megatron_codex.planning.schedule import PassTimes, Timeline, timeline

SIMULATED = 256
"""Most micro-batches of the simulated schedule; further ones each take the slowest stage's time."""


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """Where one rank's step goes, in seconds."""

    products_s: float
    attention_s: float
    memory_bound_s: float
    tensor_collectives_s: float
    data_collectives_s: float
    """All of them; `exposed_data_s` is what is not hidden."""
    exposed_data_s: float
    pipeline_s: float
    """Sending between stages."""
    rest_s: float
    """Other collectives: tied embeddings, norms, counts."""
    after_passes_s: float
    """What follows the last pass: exposed reductions, the optimizer, its collectives."""
    passes: PassTimes
    send_s: float
    """From the end of a pass until the next stage has its output."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """One training step of all ranks."""

    stages: tuple[StageTime, ...]
    timeline: Timeline
    """The simulated passes; of at most some hundred micro-batches."""
    step_s: float
    bubble: float
    """Share of all devices' time from first to last pass in which they wait for another stage."""


def operation_s(operation: Operation, hardware: HardwareConfig, *, precision: str) -> float:
    """Seconds of one operation."""
    if not operation.memory_bytes:
        return 0.0
    work = operation.work_flops / (hardware.peak_flops(precision) * hardware.product_efficiency)
    traffic = operation.memory_bytes / (hardware.memory_gb_per_s * 1e9 * hardware.memory_efficiency)
    return max(work, traffic, hardware.launch_us * 1e-6)


def collective_s(collective: Collective, hardware: HardwareConfig) -> float:
    """Seconds of one collective: a ring over the slowest link that its ranks need."""
    if len(collective.ranks) == 1 or collective.operation == "receive":
        return 0.0
    nodes = {rank // hardware.devices_per_node for rank in collective.ranks}
    speed = hardware.node_gb_per_s if len(nodes) == 1 else hardware.network_gb_per_s
    return hardware.collective_us * 1e-6 + collective.wire_bytes / (speed * 1e9 * hardware.link_efficiency)


def step_time(
    records: Sequence[RankRecord],
    parallel: ParallelConfig,
    hardware: HardwareConfig,
    *,
    precision: str,
    simulated: int = SIMULATED,
) -> StepTime:
    """The time of a step from a record of one rank of each stage, first stage first.

    simulated: most micro-batches to simulate.
    """
    stages = tuple(stage_time(record, parallel, hardware, precision=precision) for record in records)
    chunks, count = parallel.num_chunks, records[0].num_microbatches
    times = [stage.passes for stage in stages]
    simulated = min(count, simulated // len(stages) * len(stages) or len(stages))
    send_s = max(stage.send_s for stage in stages)
    run = timeline(times, chunks=chunks, num_microbatches=simulated, send_s=send_s)
    slowest = max(chunks * (time.forward_s + time.backward_s) for time in times)
    passes_s = run.duration_s + (count - simulated) * slowest
    busy = sum(chunks * count * (time.forward_s + time.backward_s) for time in times)
    return StepTime(
        stages=stages,
        timeline=run,
        step_s=passes_s + max(stage.after_passes_s for stage in stages),
        bubble=max(0.0, 1 - busy / (len(stages) * passes_s)),
    )


def stage_time(record: RankRecord, parallel: ParallelConfig, hardware: HardwareConfig, *, precision: str) -> StageTime:
    """Where the step of one rank goes."""
    operations: defaultdict[tuple[Phase, str], float] = defaultdict(float)
    for (phase, operation), count in record.operations.items():
        operations[phase, operation.sort] += count * operation_s(operation, hardware, precision=precision)
    collectives: defaultdict[tuple[Phase, str, str], float] = defaultdict(float)
    for collective, count in record.collectives.items():
        key = (collective.phase, collective.group, collective.operation)
        collectives[key] += count * collective_s(collective, hardware)

    def computing(*phases: Phase) -> float:
        return sum(seconds for (phase, _), seconds in operations.items() if phase in phases)

    def sending(group: str, *phases: Phase) -> float:
        return sum(
            s for (phase, name, _), s in collectives.items() if name == group and (not phases or phase in phases)
        )

    num_passes = record.num_microbatches * parallel.num_chunks
    forward = (computing("forward") + sending("tensor", "forward")) / num_passes
    backward = (computing("backward") + sending("tensor", "backward")) / num_passes
    one_micro_batch = parallel.num_chunks * (forward + backward)
    exposed = _exposed(collectives, parallel, hidden_behind=one_micro_batch)
    rest = sum(s for (phase, name, _), s in collectives.items() if _is_rest(phase, name))
    pipeline = sending("pipeline")
    return StageTime(
        products_s=sum(s for (_, sort), s in operations.items() if sort == "product"),
        attention_s=sum(s for (_, sort), s in operations.items() if sort == "attention"),
        memory_bound_s=sum(s for (_, sort), s in operations.items() if sort == "memory"),
        tensor_collectives_s=sending("tensor", "forward", "backward"),
        data_collectives_s=sending("data"),
        exposed_data_s=exposed,
        pipeline_s=pipeline,
        rest_s=rest,
        after_passes_s=computing("other", "optimizer") + exposed + rest,
        passes=PassTimes(forward_s=forward, backward_s=backward),
        send_s=pipeline / num_passes,
    )


def _exposed(
    collectives: Mapping[tuple[Phase, str, str], float], parallel: ParallelConfig, *, hidden_behind: float
) -> float:
    """Data-parallel collectives that nothing hides: gradients are reduced while the last micro-batch's passes run, and
    parameters gathered while the first one's do."""
    data = {key: seconds for key, seconds in collectives.items() if key[1] == "data"}
    gathering = sum(seconds for (_, _, name), seconds in data.items() if name == "all-gather")
    reducing = sum(data.values()) - gathering
    gathering_exposed = max(0.0, gathering - hidden_behind / 3) if parallel.overlap_param_gather else gathering
    reducing_exposed = max(0.0, reducing - 2 * hidden_behind / 3) if parallel.overlap_grad_reduce else reducing
    return gathering_exposed + reducing_exposed


def _is_rest(phase: Phase, group: str) -> bool:
    return group not in ("data", "pipeline", "tensor") or (group == "tensor" and phase in ("other", "optimizer"))
