"""Layouts against a plain model on one rank: loss, every gradient, copies, weights and Adam's means, dropout.

A representative part of the grid (tests/parallel/grid.py has all of it), and the uneven cases. Made-up samples: a third
have no token in the loss, so with micro-batches of one sample, micro-batches and ranks without a token are in each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.parallel.mutations import MUTATIONS, mutated_copy
from tests.parallel.ranks import ROOT
from tests.parallel.verify_ranks import SMALL, verify_job, verify_on_ranks

pytestmark = pytest.mark.multirank

TP2, PP2, PP4 = (
    {f"{kind}_model_parallel_size": size} for kind, size in (("tensor", 2), ("pipeline", 2), ("pipeline", 4))
)
TP4 = {"tensor_model_parallel_size": 4}
VPP2, SP = {"virtual_pipeline_model_parallel_size": 2}, {"sequence_parallel": True}
SHARDED = {"use_distributed_optimizer": True}
OVERLAPPED = {"overlap_grad_reduce": True}
ALL_OVERLAPPED = SHARDED | OVERLAPPED | {"overlap_param_gather": True}
BANDED = {"attention_pattern": "alternating", "band_width": 5}
PACKED = {"task": "codex_s", "data": {"layout": "packed"}}
DOCUMENTS = {"data": {"reset_attention_at_documents": True}}
BF16 = {"training": {"precision": "bf16"}}
DROPOUT = {"check_dropout": True}

ONE_RANK: dict[str, dict[str, Any]] = {
    "dense": DROPOUT,
    "banded_packed": PACKED | {"model": BANDED},
    "unfused_full_recompute": DROPOUT | {"model": {"attention_backend": "unfused"}, "parallel": {"recompute": "full"}},
    "unfused_banded_left_padded": {"task": "codex_s", "model": BANDED | {"attention_backend": "unfused"}},
    "bf16": BF16,
}
TWO_RANKS: dict[str, dict[str, Any]] = {
    "tp2": {"task": "codex_s", "parallel": TP2},
    "tp2_sp_selective": DROPOUT | {"parallel": TP2 | SP | {"recompute": "selective"}, "model": BANDED},
    "tp2_sp_full_bf16": BF16 | DOCUMENTS | {"parallel": TP2 | SP | {"recompute": "full"}},
    "pp2": PACKED | {"parallel": PP2},
    "pp2_interleaved": DROPOUT | {"parallel": PP2 | VPP2 | {"recompute": "selective"}},
    "pp2_uneven": {"parallel": PP2 | {"num_layers_in_last_pipeline_stage": 1}, "model": BANDED | {"num_layers": 5}},
    "pp2_one_micro_batch": {"parallel": PP2, "training": {"global_batch_size": 2, "micro_batch_size": 2}},
    "dp2_overlapped": DROPOUT | {"parallel": OVERLAPPED},
    "dp2_sharded_overlapped": DROPOUT | PACKED | {"parallel": ALL_OVERLAPPED},
    "tp2_odd_vocabulary": {"parallel": TP2, "tokenizer": {"vocab_size": 257, "max_run": 1}},
}
FOUR_RANKS: dict[str, dict[str, Any]] = {
    "tp4_sp": DROPOUT | {"task": "codex_s", "parallel": TP4 | SP | {"recompute": "selective"}, "model": BANDED},
    "pp4": {"parallel": PP4 | {"recompute": "full"}},
    "pp4_interleaved": {"parallel": PP4 | VPP2, "model": {"num_layers": 8}},
    "tp2_pp2_sp_interleaved": DROPOUT | PACKED | {"parallel": TP2 | PP2 | VPP2 | SP | {"recompute": "full"}},
    "tp2_dp2_sp_overlapped": {"parallel": TP2 | SP | ALL_OVERLAPPED},
    "pp2_dp2_interleaved_overlapped": DOCUMENTS | {"parallel": PP2 | VPP2 | ALL_OVERLAPPED},
    "tp2_pp2_bf16_selective": BF16 | {"parallel": TP2 | PP2 | SP | {"recompute": "selective"}},
}

LOSS, GRADIENT = 1e-5, 1e-5
"""fp32 against float64; measured over the grid: docs/parallelism.md."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A report of each job, by its name."""
    made: dict[str, dict[str, Any]] = {}
    for num_ranks, jobs in ((1, ONE_RANK), (2, TWO_RANKS), (4, FOUR_RANKS)):
        directory = tmp_path_factory.mktemp(f"verify_{num_ranks}")
        found = verify_on_ranks(num_ranks, [verify_job(**job) for job in jobs.values()], directory)
        made |= dict(zip(jobs, found, strict=True))
    return made


@pytest.mark.parametrize("name", [*ONE_RANK, *TWO_RANKS, *FOUR_RANKS])
def test_a_layout_equals_one_rank(reports: dict[str, dict[str, Any]], name: str) -> None:
    report = reports[name]
    assert "error" not in report, report
    assert report["first"] is None, report["first"]
    checks = report["checks"]
    assert {"loss, step 2", "gradient, step 2", "weights, step 2", "exp_avg_sq, step 2"} <= checks.keys()
    if "fp32" in report["layout"]:
        assert max(checks[f"loss, step {step}"] for step in (1, 2)) <= LOSS
        assert max(checks[f"gradient, step {step}"] for step in (1, 2)) <= GRADIENT
    jobs = ONE_RANK | TWO_RANKS | FOUR_RANKS
    assert ("dropout: generators" in checks) == jobs[name].get("check_dropout", False)


def _run_tool(*arguments: str, package: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment |= {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    given = [
        f"{section}.{key}={value}"
        for section in ("model", "tokenizer", "optimizer", "training")
        for key, value in SMALL[section].items()
    ]
    command = [sys.executable, str(ROOT / "tools/verify_parallel.py"), *given, "--steps", "1", "--no-check-dropout"]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env=environment, cwd=package
    )


def test_the_tool_starts_its_own_ranks_and_prints_a_table() -> None:
    process = _run_tool("parallel.tensor_model_parallel_size=2")
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == "TP 2, PP 1, DP 1, fp32; 2 ranks"
    assert any(line.startswith("gradient, step 1 ") for line in lines)
    assert lines[-1].startswith("equal to one rank")


def test_the_tool_names_the_first_tensor_that_differs_and_fails(tmp_path: Path) -> None:
    (fault,) = (mutation for mutation in MUTATIONS if mutation.name == "labels_shifted")
    process = _run_tool(package=mutated_copy(fault, tmp_path))
    assert process.returncode == 1
    assert "DIFFERS" in process.stdout
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert "gradient, step 1: embedding.position_embeddings.weight[" in line and "on rank 0" in line


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("parallel.tensor_model_parallel_size=3", "must divide model.num_attention_heads = 4"),
        ("parallel.pipeline_model_parallel_size=3", "parallel.num_layers_in_last_pipeline_stage=2"),
        ("parallel.context_parallel_size=2", "only Transformer Engine's attention"),
        ("num_ranks=0", "must be at least 1"),
    ],
)
def test_what_cannot_be_verified_is_refused_in_one_line(argument: str, words: str) -> None:
    process = _run_tool(argument)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1 and words in process.stderr
