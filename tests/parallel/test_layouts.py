"""Every layout trains as one rank does from the same seed: losses, validation loss, gradient norms, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from megatron_codex.model.weights import read_weights
from tests.parallel.jobs import NUM_HEADS, base_job, merge, metrics, prompted_job
from tests.parallel.ranks import run_ranks

pytestmark = pytest.mark.multirank

TP2 = {"tensor_model_parallel_size": 2}
PP2 = {"pipeline_model_parallel_size": 2}
# One rank's reference has micro-batches of 2 samples: neither this size nor the layout may show.
MICRO_BATCH_1, MICRO_BATCH_4 = {"micro_batch_size": 1}, {"micro_batch_size": 4}
SHARDED = {"use_distributed_optimizer": True}
OVERLAPPED = SHARDED | {"overlap_grad_reduce": True, "overlap_param_gather": True}

# name -> (what one rank ran, parallel section and micro_batch_size)
TWO_RANKS: dict[str, tuple[str, dict[str, Any]]] = {
    "tp2": ("s", TP2),
    "tp2_packed": ("s_packed", TP2 | MICRO_BATCH_1),
    "tp2_sp_recompute": ("s", TP2 | {"sequence_parallel": True, "recompute": "full"}),
    "pp2": ("s", PP2),
    "pp2_base": ("base", PP2),
    "pp2_interleaved": ("s", PP2 | {"virtual_pipeline_model_parallel_size": 2, "recompute": "selective"}),
    "dp2": ("s", MICRO_BATCH_4),
    "dp2_overlapped": ("s", OVERLAPPED),
}
FOUR_RANKS: dict[str, tuple[str, dict[str, Any]]] = {
    "tp2_pp2_sp_sharded": ("s", TP2 | PP2 | SHARDED | {"sequence_parallel": True}),
    "tp2_dp2_sp_overlapped": ("base", TP2 | OVERLAPPED | {"sequence_parallel": True}),
    "pp2_dp2_interleaved_sharded": ("s_packed", PP2 | SHARDED | {"virtual_pipeline_model_parallel_size": 2}),
}

LOSS_TOLERANCE = 1e-5
"""fp32 sums in another order, over five AdamW steps; measured: below 1e-6."""
BF16_TOLERANCE = 1e-2
"""bf16 has 8 bits: 4e-3 relative in each product."""
WEIGHT_TOLERANCE = 2e-5
"""AdamW divides by the gradient's size, so a tiny one's rounding shows; measured: 5.0e-6, of moves of 1e-2."""


def _train(runs: Path, world_size: int, layouts: dict[str, tuple[str, dict[str, Any]]]) -> None:
    jobs = []
    for name, (reference, parallel) in layouts.items():
        job = base_job(runs) if reference == "base" else prompted_job(runs)
        if reference == "s_packed":
            job["data"]["layout"] = "packed"
        sections = {"parallel": dict(parallel), "training": {"output_dir": str(runs / name)}}
        if "micro_batch_size" in parallel:
            sections["training"]["micro_batch_size"] = sections["parallel"].pop("micro_batch_size")
        jobs.append(merge(job, sections))
    if world_size == 2:
        bf16 = {"training": {"output_dir": str(runs / "tp2_bf16"), "precision": "bf16"}, "parallel": TP2}
        jobs.append(merge(prompted_job(runs), bf16))
        dropout = {"model": {"hidden_dropout": 0.2}, "training": {"output_dir": str(runs / "tp2_hidden_dropout")}}
        jobs.append(merge(prompted_job(runs, parallel=TP2), dropout))
    run_ranks(world_size, jobs, runs / f"{world_size}_ranks")


@pytest.fixture(scope="module")
def two_ranks(runs: Path) -> Path:
    _train(runs, 2, TWO_RANKS)
    return runs


@pytest.fixture(scope="module")
def four_ranks(runs: Path) -> Path:
    _train(runs, 4, FOUR_RANKS)
    return runs


@pytest.mark.parametrize("name", TWO_RANKS)
def test_two_ranks_train_as_one(two_ranks: Path, name: str) -> None:
    _compare(two_ranks / TWO_RANKS[name][0], two_ranks / name)


@pytest.mark.parametrize("name", FOUR_RANKS)
def test_four_ranks_train_as_one(four_ranks: Path, name: str) -> None:
    _compare(four_ranks / FOUR_RANKS[name][0], four_ranks / name)


def test_tensor_parallel_ranks_draw_hidden_dropout_as_one_rank_does(two_ranks: Path) -> None:
    """Each holds all hidden channels. Weights are compared without dropout: AdamW makes much of a tiny gradient."""
    _compare_metrics(two_ranks / "s_dropout", two_ranks / "tp2_hidden_dropout")
    assert metrics(two_ranks / "s_dropout")[0]["loss"] != pytest.approx(metrics(two_ranks / "s")[0]["loss"], abs=0.01)


def test_no_library_warns_of_what_a_user_cannot_change(two_ranks: Path, four_ranks: Path) -> None:
    logs = [*two_ranks.glob("2_ranks/rank*.log"), *four_ranks.glob("4_ranks/rank*.log")]
    assert len(logs) == 6
    for log in logs:
        assert "Warning:" not in log.read_text(), log


def test_bf16_stays_near_fp32(two_ranks: Path) -> None:
    expected, got = metrics(two_ranks / "s"), metrics(two_ranks / "tp2_bf16")
    assert [line["loss"] for line in got] == pytest.approx([line["loss"] for line in expected], rel=BF16_TOLERANCE)
    assert [line["loss"] for line in got] != [line["loss"] for line in expected]
    # The checkpoint has the optimizer's fp32 weights, not their bf16 copies.
    weight = read_weights(two_ranks / "tp2_bf16").tensors["decoder.layers.0.mlp.linear_fc1.weight"]
    assert weight.dtype == torch.float32 and not torch.equal(weight, weight.bfloat16().float())


def _compare_metrics(expected: Path, got: Path) -> None:
    for one, many in zip(metrics(expected), metrics(got), strict=True):
        assert many["num_tokens"] == one["num_tokens"] > 0
        assert many["loss"] == pytest.approx(one["loss"], abs=LOSS_TOLERANCE)
        assert many["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
        assert many.get("valid_loss") == pytest.approx(one.get("valid_loss"), abs=LOSS_TOLERANCE)


def _compare(expected: Path, got: Path) -> None:
    _compare_metrics(expected, got)
    weights, other = read_weights(expected), read_weights(got)
    assert other.tensors.keys() == weights.tensors.keys()
    for name, tensor in weights.tensors.items():
        one, many = _with_gradient(name, tensor), _with_gradient(name, other.tensors[name])
        difference = (many - one).abs().max().item()
        assert difference < WEIGHT_TOLERANCE, f"{name} differs by {difference}"


def _with_gradient(name: str, tensor: Tensor) -> Tensor:
    """The part of a tensor that the loss depends on: all of it but the biases of keys, which add the same to every
    score of a query. Their gradient is rounding alone, and AdamW makes full steps of it."""
    if not name.endswith("linear_qkv.bias"):
        return tensor
    return tensor.view(NUM_HEADS, 3, -1)[:, [0, 2]]
