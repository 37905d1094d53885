"""Verify many layouts in one set of gloo ranks: one process a rank, one layout after the other.

A job is a configuration of tools/verify_parallel.py (nested mappings). What rank 0 reports for each: "layout",
"samples", "first" (the first difference, or null), "checks" (what -> largest difference), "seconds", or "error" alone.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.parallel.ranks import call_on_ranks

TIMEOUT_S = 600

SMALL: dict[str, Any] = {
    "model": {"num_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "seq_length": 24, "init_method_std": 0.2},
    "tokenizer": {"vocab_size": 300},  # of which 384, 512 or 1024 rows are padded: 128 for each tensor-parallel rank
    "optimizer": {"lr": 3e-3, "lr_warmup_iters": 2, "lr_decay_iters": 10, "clip_grad": 0.5},
    "training": {"global_batch_size": 4, "micro_batch_size": 1},
    "steps": 2,
    "check_dropout": False,
}
"""A large initialisation, so that attention and losses are far from uniform; made-up samples, a third of them blank."""


def verify_job(**sections: Any) -> dict[str, Any]:
    """SMALL with some values of its sections, or whole values, replaced."""
    job: dict[str, Any] = json.loads(json.dumps(SMALL))
    for name, value in sections.items():
        job[name] = job.get(name, {}) | value if isinstance(value, Mapping) else value
    return job


def verify_on_ranks(
    world_size: int, jobs: Sequence[Mapping[str, Any]], directory: Path, *, timeout_s: float = TIMEOUT_S
) -> list[dict[str, Any]]:
    """Verify every job on `world_size` ranks, one after the other; a report of each."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "jobs.json").write_text(json.dumps(list(jobs)))
    call_on_ranks(world_size, verify_jobs, directory, timeout_s=timeout_s)
    reports: list[dict[str, Any]] = json.loads((directory / "reports.json").read_text())
    return reports


def verify_jobs(directory: Path) -> None:
    """Verify each job, as one of the ranks."""
    import torch.distributed as dist

    from megatron_codex.config.load import build_config
    from megatron_codex.config.verify import VerifyConfig
    from megatron_codex.errors import InputError, WorkError
    from megatron_codex.training.verify import verify

    reports: list[dict[str, Any]] = []
    for job in json.loads((directory / "jobs.json").read_text()):
        gc.collect()  # the last job's process groups, three threads each, which its model's cycles still hold
        started = time.monotonic()
        try:
            made = verify(build_config(VerifyConfig, job))
        except (InputError, WorkError) as error:
            reports.append({"error": f"{type(error).__name__}: {error}"})
            continue
        report: dict[str, Any] = {"layout": made.layout, "samples": made.samples, "first": None}
        report["first"] = None if made.first is None else str(made.first)
        report["checks"] = {check.what: check.largest for check in made.checks}
        report["seconds"] = time.monotonic() - started
        reports.append(report)
    if dist.get_rank() == 0:
        (directory / "reports.json").write_text(json.dumps(reports))
