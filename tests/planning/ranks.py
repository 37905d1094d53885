"""Real training steps on gloo ranks, measured: what a dry run's predictions are held against.

Run by hand for the table of docs/planning.md: python tests/planning/ranks.py

Two accounts are kept of each rank's second step. The Recorder's own, of real tensors. And the CPU allocator's, from
torch's profiler: every block that torch allocates or frees, scratch space of kernels included, whoever asked for it.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.parallel.ranks import call_on_ranks

MODEL = {"num_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "seq_length": 256}
"""Large enough that scratch space of kernels (some hundred KiB) is small beside its tensors."""

TP2 = {"tensor_model_parallel_size": 2}
PP2 = {"pipeline_model_parallel_size": 2}
SHARDED = {"use_distributed_optimizer": True}
OVERLAPPED = SHARDED | {"overlap_grad_reduce": True, "overlap_param_gather": True}
SP = {"sequence_parallel": True}

# name -> (ranks, parallel section, training section)
LAYOUTS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "tp2_sp": (2, TP2 | SP, {}),
    "tp2_selective_bf16": (2, TP2 | {"recompute": "selective"}, {"precision": "bf16"}),
    "pp2": (2, PP2, {}),
    "pp2_interleaved_full": (2, PP2 | {"virtual_pipeline_model_parallel_size": 2, "recompute": "full"}, {}),
    "dp2_bf16": (2, {}, {"precision": "bf16"}),
    "dp2_overlapped": (2, OVERLAPPED, {}),
    "tp2_pp2_sp_bf16": (4, TP2 | PP2 | SP | SHARDED, {"precision": "bf16"}),
    "tp2_dp2_sp_overlapped_bf16": (4, TP2 | SP | OVERLAPPED, {"precision": "bf16"}),
    "pp2_dp2_interleaved": (4, PP2 | SHARDED | {"virtual_pipeline_model_parallel_size": 2}, {}),
}
TESTED = ("tp2_sp", "tp2_selective_bf16", "pp2", "pp2_interleaved_full", "dp2_overlapped", "tp2_pp2_sp_bf16")
"""Those of the test command; the table has all."""


def job(name: str) -> dict[str, Any]:
    """The training configuration of a layout: four micro-batches of two samples a rank."""
    world_size, parallel, training = LAYOUTS[name]
    shared = parallel.get("tensor_model_parallel_size", 1) * parallel.get("pipeline_model_parallel_size", 1)
    return {
        "model": MODEL,
        "tokenizer": {"vocab_size": 2073},
        "data": {"data_prefix": "none"},
        "parallel": parallel,
        "optimizer": {"lr": 1e-4},
        "training": {
            "output_dir": "none",
            "train_iters": 1,
            "micro_batch_size": 2,
            "global_batch_size": 8 * world_size // shared,
            **training,
        },
    }


def measure(names: Sequence[str], directory: Path) -> dict[str, list[dict[str, Any]]]:
    """layout -> what each of its ranks measured (_measure). Layouts of one number of ranks share their processes."""
    found: dict[str, list[dict[str, Any]]] = {}
    for world_size in sorted({LAYOUTS[name][0] for name in names}):
        mine = [name for name in names if LAYOUTS[name][0] == world_size]
        place = directory / f"{world_size}_ranks"
        place.mkdir(parents=True)
        (place / "jobs.json").write_text(json.dumps({name: job(name) for name in mine}))
        call_on_ranks(world_size, measure_jobs, place)
        ranks = [json.loads((place / f"measured{rank}.json").read_text()) for rank in range(world_size)]
        found |= {name: [rank[name] for rank in ranks] for name in mine}
    return found


def _measure(config: Any) -> dict[str, Any]:
    """The second step of this rank: bytes at the peak by three accounts, and every collective."""
    import torch

    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.planning import rank
    from megatron_codex.planning.recording import Recorder
    from megatron_codex.training.state import initialise

    def marked_step(*args: Any, **kwargs: Any) -> Any:
        with torch.profiler.record_function("training step"):
            return train_step(*args, **kwargs)

    def started_engine(config: Any) -> Any:
        engine = build_engine(config)
        initialise(engine, config)
        return engine

    train_step, build_engine = rank.train_step, rank.build_engine
    rank.train_step, rank.build_engine = marked_step, started_engine
    gc.collect()  # or an earlier job's blocks, freed while this one is profiled, count against it
    recorder = Recorder(dry_run=False)
    before = _resident_bytes("VmRSS")
    with model_parallel(config.parallel) as layout, torch.profiler.profile(profile_memory=True) as profiler, recorder:
        count = config.training.global_batch_size // config.training.micro_batch_size // layout.dp_size
        _, step = rank.record_steps(config, layout, recorder, num_microbatches=(count, count))
    rank.train_step, rank.build_engine = train_step, build_engine
    return {
        "recorded_bytes": sum(step.peak_bytes.values()),
        "allocated_bytes": _allocator_peak(profiler),
        "resident_bytes": _resident_bytes("VmHWM") - before,
        "static_bytes": {kind: size for kind, size in step.static_bytes.items() if size},
        "collectives": sorted(
            [c.group, c.operation, list(c.ranks), c.tensor_bytes, n] for c, n in by_group(step.collectives).items()
        ),
        "order": "".join("F" if event.forward else "B" for event in step.events),
    }


def by_group(collectives: Mapping[Any, int]) -> dict[Any, int]:
    """Collectives without the phase in which they were called: gloo ranks reduce when their peers do."""
    from collections import Counter
    from dataclasses import replace

    found: Counter[Any] = Counter()
    for collective, count in collectives.items():
        found[replace(collective, phase="other")] += count
    return dict(found)


def _allocator_peak(profiler: Any) -> int:
    """Most bytes that the CPU allocator had handed out at a time in the second step."""
    events = profiler.profiler.kineto_results.events()
    _, step = sorted((e for e in events if e.name() == "training step"), key=lambda event: event.start_ns())
    held = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda event: event.start_ns()):
        held += event.nbytes()
        if step.start_ns() <= event.start_ns() <= step.end_ns():
            peak = max(peak, held)
    return peak


def _resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def measure_jobs(directory: Path) -> None:
    """One rank of `measure`."""
    import torch.distributed as dist

    from megatron_codex.config.load import build_config
    from megatron_codex.config.training import TrainConfig

    jobs = json.loads((directory / "jobs.json").read_text())
    measured = {name: _measure(build_config(TrainConfig, tree)) for name, tree in jobs.items()}
    (directory / f"measured{dist.get_rank()}.json").write_text(json.dumps(measured))


def table(directory: Path) -> None:
    """Predicted against measured, each layout in processes of its own so that resident memory is its own."""
    from megatron_codex.config.load import build_config
    from megatron_codex.config.training import TrainConfig
    from megatron_codex.planning.dry_run import dry_runs

    print("| layout | rank | predicted MiB | recorded | allocator | resident |\n| --- | --- | --- | --- | --- | --- |")
    for name, (world_size, _, _) in LAYOUTS.items():
        predicted = dry_runs(build_config(TrainConfig, job(name)), range(world_size), world_size=world_size)
        for record, real in zip(predicted, measure([name], directory / name)[name], strict=True):
            size = record.peak_total_bytes
            accounts = [real[key] for key in ("recorded_bytes", "allocated_bytes", "resident_bytes")]
            cells = [f"{held / 2**20:.2f} ({100 * (size / held - 1):+.2f} %)" for held in accounts]
            print(f"| {name} | {record.rank} | {size / 2**20:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        table(Path(made))
