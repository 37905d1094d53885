"""A plan for people and for machines: tables of text, and one mapping for JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from megatron_codex.config.hardware import HardwareConfig
from megatron_codex.config.load import config_to_dict
from megatron_codex.planning.dry_run import RankRecord
from megatron_codex.planning.plan import Plan
from megatron_codex.planning.recording import KINDS
from megatron_codex.planning.search import Estimate

_GIB = 2**30
_TIMES = (
    *("products_s", "attention_s", "memory_bound_s", "tensor_collectives_s", "data_collectives_s"),
    *("exposed_data_s", "pipeline_s", "rest_s", "after_passes_s"),
)


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Everything a plan says, in bytes, seconds and counts."""
    config = plan.config
    found: dict[str, Any] = {
        "model": {"parameters": config.model.num_parameters(config.tokenizer.true_vocab_size)},
        "layout": layout_to_dict(plan),
        "hardware": config_to_dict(plan.hardware),
        "ranks": [_rank_to_dict(record) for record in plan.records],
        "peak_bytes": plan.peak_bytes,
        "usable_bytes": plan.hardware.usable_bytes,
        "fits": plan.fits,
    }
    if plan.time is None or plan.flops is None:
        return found
    for rank, stage in zip(found["ranks"], plan.time.stages, strict=True):
        rank["time"] = {name: getattr(stage, name) for name in _TIMES}
        rank["time"] |= {"forward_pass_s": stage.passes.forward_s, "backward_pass_s": stage.passes.backward_s}
    flops = plan.flops
    found["flops"] = {name: getattr(flops, name) for name in ("executed", "model", "formula", "six_n_d")}
    found["time"] = {
        "step_s": plan.time.step_s,
        "bubble": plan.time.bubble,
        "tokens_per_s": plan.tokens_per_s,
        "tokens_per_s_per_device": plan.tokens_per_s / config.world_size,
        "mfu": plan.mfu,
        "run_tokens": plan.run_tokens,
        "days": plan.days,
        "device_hours": plan.device_hours,
    }
    return found


def layout_to_dict(plan: Plan) -> dict[str, Any]:
    """The layout, derived sizes included."""
    training = plan.config.training
    return {
        "world_size": plan.config.world_size,
        **config_to_dict(plan.config.parallel),
        "data_parallel_size": plan.data_parallel_size,
        "micro_batch_size": training.micro_batch_size,
        "global_batch_size": training.global_batch_size,
        "num_microbatches": plan.records[0].num_microbatches,
        "precision": training.precision,
        "seq_length": plan.config.model.seq_length,
    }


def communication(record: RankRecord) -> dict[tuple[str, str], dict[str, float]]:
    """(group, operation) -> ranks, calls, tensor bytes and wire bytes of a step."""
    found: dict[tuple[str, str], dict[str, float]] = defaultdict(
        lambda: {"ranks": 0, "calls": 0, "tensor_bytes": 0, "wire_bytes": 0.0}
    )
    for collective, count in sorted(record.collectives.items()):
        entry = found[collective.group, collective.operation]
        entry["ranks"] = len(collective.ranks)
        entry["calls"] += count
        entry["tensor_bytes"] += count * collective.tensor_bytes
        entry["wire_bytes"] += count * collective.wire_bytes
    return dict(found)


def _rank_to_dict(record: RankRecord) -> dict[str, Any]:
    return {
        "rank": record.rank,
        "stage": record.stage,
        "parameters": record.num_parameters,
        "static_bytes": {kind: record.static_bytes[kind] for kind in KINDS},
        "peak_bytes": {kind: record.peak_bytes[kind] for kind in KINDS} | {"total": record.peak_total_bytes},
        "communication": [
            {"group": group, "operation": operation, **numbers}
            for (group, operation), numbers in communication(record).items()
        ],
        "flops": sum(count * operation.flops for (_, operation), count in record.operations.items()),
    }


def plan_to_text(plan: Plan) -> str:
    """The tables that tools/plan.py prints."""
    config = plan.config
    parts = [headline(plan), _memory(plan), _communication(plan)]
    if plan.time is not None and plan.flops is not None:
        flops, time = plan.flops, plan.time
        parts.append(
            f"floating-point operations of a step: {flops.model:.4e} of the model (6 N D: {flops.six_n_d:.4e}, "
            f"{_percent(flops.six_n_d / flops.model - 1)}; 6 a weight + attention: {flops.formula:.4e}, "
            f"{_percent(flops.formula / flops.model - 1)}), {flops.executed:.4e} executed"
        )
        parts.append(_time(plan))
        parts.append(
            f"step {time.step_s:.3f} s, bubble {100 * time.bubble:.1f} %, {plan.tokens_per_s:,.0f} tokens/s "
            f"({plan.tokens_per_s / config.world_size:,.0f} a device), MFU {100 * plan.mfu:.1f} %\n"
            f"{plan.run_tokens:.3g} tokens: {plan.days:.2f} days, {plan.device_hours:,.0f} device hours\n"
            "Times are a model's and were measured on no GPU; docs/planning.md has its assumptions and errors."
        )
    return "\n\n".join(parts)


def headline(plan: Plan) -> str:
    """The model, the devices and the layout, in two lines."""
    config, parallel = plan.config, plan.config.parallel
    count = config.model.num_parameters(config.tokenizer.true_vocab_size)
    on = [name for name in ("sequence_parallel", "use_distributed_optimizer") if getattr(parallel, name)]
    chunks = f" x {parallel.num_chunks} chunks" if parallel.interleaved else ""
    return (
        f"{config.model.preset or 'model'}: {count / 1e6:,.1f} M parameters, "
        f"{config.world_size} x {plan.hardware.name}\n"
        f"tensor {parallel.tensor_model_parallel_size}, pipeline {parallel.pipeline_model_parallel_size}{chunks}, data "
        f"{plan.data_parallel_size}; {', '.join([*on, f'recompute {parallel.recompute}', config.training.precision])}; "
        f"global batch {config.training.global_batch_size} x {config.model.seq_length} tokens = "
        f"{plan.records[0].num_microbatches} micro-batches of {config.training.micro_batch_size} a rank"
    )


def _memory(plan: Plan) -> str:
    head = ["stage", "rank", "M params", *KINDS, "static", "peak", "usable"]
    rows = [
        [
            str(record.stage),
            str(record.rank),
            f"{record.num_parameters / 1e6:.1f}",
            *(f"{record.peak_bytes[kind] / _GIB:.2f}" for kind in KINDS),
            f"{sum(record.static_bytes.values()) / _GIB:.2f}",
            f"{record.peak_total_bytes / _GIB:.2f}",
            f"{plan.hardware.usable_bytes / _GIB:.2f}" + ("" if _fits(plan, record) else "  DOES NOT FIT"),
        ]
        for record in plan.records
    ]
    return "memory of a rank at its peak, GiB\n" + align(head, rows)


def _fits(plan: Plan, record: RankRecord) -> bool:
    return record.peak_total_bytes <= plan.hardware.usable_bytes


def _communication(plan: Plan) -> str:
    head = ["stage", "group", "operation", "ranks", "calls", "tensor MiB", "wire MiB"]
    rows = [
        [
            str(record.stage),
            group,
            operation,
            f"{numbers['ranks']:.0f}",
            f"{numbers['calls']:.0f}",
            f"{numbers['tensor_bytes'] / 2**20:,.1f}",
            f"{numbers['wire_bytes'] / 2**20:,.1f}",
        ]
        for record in (plan.records[0], *plan.records[1:][-1:])
        for (group, operation), numbers in communication(record).items()
        if numbers["ranks"] > 1
    ]
    return "communication of a rank in a step (first and last stage)\n" + align(head, rows)


def _time(plan: Plan) -> str:
    assert plan.time is not None
    head = ["stage", "products", "attention", "memory bound", "tensor", "data (exposed)", "pipeline", "rest"]
    rows = [
        [
            str(number),
            f"{stage.products_s:.3f}",
            f"{stage.attention_s:.3f}",
            f"{stage.memory_bound_s:.3f}",
            f"{stage.tensor_collectives_s:.3f}",
            f"{stage.data_collectives_s:.3f} ({stage.exposed_data_s:.3f})",
            f"{stage.pipeline_s:.3f}",
            f"{stage.rest_s:.3f}",
        ]
        for number, stage in enumerate(plan.time.stages)
    ]
    return "seconds of a rank's step, by what it does\n" + align(head, rows)


def search_to_dict(found: Sequence[Estimate]) -> list[dict[str, Any]]:
    """Layouts in their order, for JSON."""
    return [
        {
            "layout": _short_layout(entry),
            "peak_bytes": entry.peak_bytes,
            "step_s": entry.time.step_s,
            "bubble": entry.time.bubble,
            "dry_run": entry.plan is not None,
        }
        for entry in found
    ]


def search_to_text(found: Sequence[Estimate], hardware: HardwareConfig) -> str:
    """The table that tools/plan.py --search prints."""
    config = found[0].config
    head = ["tensor", "pipeline", "chunks", "data", "micro-batch", "recompute", "peak GiB", "bubble", "step s"]
    head += ["tokens/s", "days", "checked by"]
    step_tokens = config.training.global_batch_size * config.model.seq_length
    run_tokens = config.tokens or step_tokens * config.training.train_iters
    rows = [
        [
            *(str(value) for value in _short_layout(entry).values()),
            f"{entry.peak_bytes / _GIB:.2f}",
            f"{100 * entry.time.bubble:.1f} %",
            f"{entry.time.step_s:.3f}",
            f"{step_tokens / entry.time.step_s:,.0f}",
            f"{run_tokens / step_tokens * entry.time.step_s / 86400:.2f}",
            "dry run" if entry.plan is not None else "probe",
        ]
        for entry in found
    ]
    return (
        f"layouts of {config.model.preset or 'the model'} on {config.world_size} x {hardware.name}, fastest first; "
        f"{hardware.usable_bytes / _GIB:.2f} GiB usable\n{align(head, rows)}\n"
        "Sequence parallelism is on with tensor parallelism; the distributed optimizer, overlapped, with data "
        "parallelism.\n"
        "Times are a model's and were measured on no GPU; docs/planning.md has its assumptions and errors."
    )


def _short_layout(entry: Estimate) -> dict[str, Any]:
    parallel, training = entry.config.parallel, entry.config.training
    return {
        "tensor_model_parallel_size": parallel.tensor_model_parallel_size,
        "pipeline_model_parallel_size": parallel.pipeline_model_parallel_size,
        "virtual_pipeline_model_parallel_size": parallel.num_chunks,
        "data_parallel_size": entry.config.world_size // parallel.model_parallel_size,
        "micro_batch_size": training.micro_batch_size,
        "recompute": parallel.recompute,
    }


def align(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns, set right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )


def _percent(share: float) -> str:
    return f"{100 * share:+.2f} %"
