"""A layout's plan: memory and communication of each stage, floating-point operations, bubble, time, days.

In: a PlanConfig. Out: a Plan, from a dry run of one rank of each pipeline stage. Ranks of one stage hold and do alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.config.planning import PlanConfig
from megatron_codex.planning.dry_run import RankRecord, dry_runs
from megatron_codex.planning.time_model import StepTime, step_time
from megatron_codex.training.metrics import model_flops


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Floating-point operations of one training step of all ranks, and the formulas people use for them."""

    executed: int
    """Matrix products and attention of forward, backward and recomputation, counted."""
    model: int
    """Three times the forward passes', counted: without recomputation. Attention in full, although it is causal."""
    formula: float
    """6 for each weight of a matrix and token, and 12 x layers x hidden size x positions (training/metrics.py)."""
    six_n_d: float
    """6 x parameters x tokens."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one layout costs."""

    config: PlanConfig
    hardware: HardwareConfig
    records: tuple[RankRecord, ...]
    """One rank of each stage, first stage first; or the one rank that was asked for."""
    time: StepTime | None
    """None when one rank only was asked for."""
    flops: Flops | None
    """Likewise."""

    @property
    def peak_bytes(self) -> int:
        """Most bytes that a rank holds at a time."""
        return max(record.peak_total_bytes for record in self.records)

    @property
    def fits(self) -> bool:
        """Whether every rank's tensors fit into the usable memory."""
        return self.peak_bytes <= self.hardware.usable_bytes

    @property
    def data_parallel_size(self) -> int:
        """Copies of the model."""
        return self.config.world_size // self.config.parallel.model_parallel_size

    @property
    def step_tokens(self) -> int:
        """Tokens of a global batch."""
        return self.config.training.global_batch_size * self.config.model.seq_length

    @property
    def run_tokens(self) -> float:
        """Tokens of the whole run."""
        return self.config.tokens or float(self.step_tokens * self.config.training.train_iters)

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second of all devices."""
        assert self.time is not None
        return self.step_tokens / self.time.step_s

    @property
    def mfu(self) -> float:
        """Model FLOP/s over the peak of all devices."""
        assert self.time is not None and self.flops is not None
        peak = self.hardware.peak_flops(self.config.training.precision) * self.config.world_size
        return self.flops.model / self.time.step_s / peak

    @property
    def days(self) -> float:
        """Days of the whole run."""
        return self.run_tokens / self.tokens_per_s / 86400

    @property
    def device_hours(self) -> float:
        """Device hours of the whole run."""
        return self.days * 24 * self.config.world_size


def make_plan(config: PlanConfig, hardware: HardwareConfig) -> Plan:
    """Plan the layout of a configuration.

    Raises: InputError for a layout that does not fit the number of devices.
    """
    config.check_world_size(config.world_size)
    ranks = [config.rank] if config.rank is not None else first_ranks(config)
    records = dry_runs(config, ranks, world_size=config.world_size)
    if config.rank is not None:
        return Plan(config=config, hardware=hardware, records=tuple(records), time=None, flops=None)
    return Plan(
        config=config,
        hardware=hardware,
        records=tuple(records),
        time=step_time(records, config.parallel, hardware, precision=config.training.precision),
        flops=count_flops(config, records),
    )


def first_ranks(config: PlanConfig) -> list[int]:
    """The first rank of each pipeline stage: megatron-core numbers tensor ranks first, then data, then pipeline."""
    stages = config.parallel.pipeline_model_parallel_size
    return [stage * config.world_size // stages for stage in range(stages)]


def count_flops(config: PlanConfig, records: Sequence[RankRecord]) -> Flops:
    """All ranks' operations of a step from those of one rank of each stage."""
    alike = config.world_size // config.parallel.pipeline_model_parallel_size
    counted = [
        (phase, count * operation.flops)
        for record in records
        for (phase, operation), count in record.operations.items()
    ]
    vocab_size = config.tokenizer.true_vocab_size
    num_tokens, seq_length = config.training.global_batch_size * config.model.seq_length, config.model.seq_length
    return Flops(
        executed=alike * sum(flops for _, flops in counted),
        model=3 * alike * sum(flops for phase, flops in counted if phase == "forward"),
        formula=model_flops(config.model, vocab_size=vocab_size, num_positions=num_tokens, seq_length=seq_length),
        six_n_d=6.0 * config.model.num_parameters(vocab_size) * num_tokens,
    )
