"""A run that is killed continues as if it had not been: bitwise in its layout, within rounding in another."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_codex.model.weights import read_weights
from tests.parallel.jobs import Job, losses, merge, metrics, prompted_job, write_data
from tests.parallel.ranks import ROOT, end, run_ranks, start_ranks

pytestmark = pytest.mark.multirank

STEPS = 12
SAVE_INTERVAL = 3
SHARDED_TP2 = {
    "tensor_model_parallel_size": 2,
    "sequence_parallel": True,
    "use_distributed_optimizer": True,
}
SHARDED_DP2 = {"use_distributed_optimizer": True, "overlap_grad_reduce": True, "overlap_param_gather": True}


def _job(directory: Path, name: str, *, train_iters: int = STEPS, **sections: dict[str, Any]) -> Job:
    training = {
        "output_dir": str(directory / name),
        "train_iters": train_iters,
        "save_interval": SAVE_INTERVAL,
        "keep_checkpoints": 0,
    }
    job = prompted_job(directory, training=training, optimizer={"lr_decay_iters": STEPS})
    # With dropout: the random numbers of a step must not depend on where the run was stopped.
    return merge(merge(job, {"model": {"hidden_dropout": 0.1, "attention_dropout": 0.1}}), sections)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole runs and stopped runs of two ranks, and their continuation."""
    directory = tmp_path_factory.mktemp("resume")
    write_data(directory)
    sharded = {"parallel": SHARDED_TP2}
    pipeline_bf16 = {"parallel": {"pipeline_model_parallel_size": 2}, "training": {"precision": "bf16"}}
    jobs = []
    for name, sections in (("tp2", sharded), ("pp2_bf16", pipeline_bf16), ("dp2", {"parallel": SHARDED_DP2})):
        jobs.append(merge(_job(directory, f"{name}_whole"), sections))
        jobs.append(merge(_job(directory, f"{name}_parts", train_iters=7), sections))
        jobs.append(merge(_job(directory, f"{name}_parts"), sections))
    run_ranks(2, jobs, directory / "two_ranks")
    return directory


@pytest.mark.parametrize("name", ["tp2", "pp2_bf16", "dp2"])
def test_a_resumed_run_is_bitwise_the_whole_run(directory: Path, name: str) -> None:
    whole, parts = metrics(directory / f"{name}_whole"), metrics(directory / f"{name}_parts")
    assert [line["step"] for line in parts] == list(range(1, STEPS + 1))
    for field in ("loss", "grad_norm", "lr", "num_tokens"):
        assert [line[field] for line in parts] == [line[field] for line in whole]
    expected, got = read_weights(directory / f"{name}_whole"), read_weights(directory / f"{name}_parts")
    for tensor_name, tensor in expected.tensors.items():
        assert torch.equal(got.tensors[tensor_name], tensor), tensor_name


def test_a_run_resumes_in_another_layout(directory: Path) -> None:
    """TP2 with sharded optimizer -> one rank without, at step 7; no dropout, whose masks belong to a layout."""
    dry = {"model": {"hidden_dropout": 0.0, "attention_dropout": 0.0}}
    whole, moved = _job(directory, "one_whole", **dry), _job(directory, "moved", **dry)
    run_ranks(2, [merge(moved, {"parallel": SHARDED_TP2, "training": {"train_iters": 7}})], directory / "first_part")
    run_ranks(1, [whole, moved], directory / "second_part")
    assert losses(directory / "moved") == pytest.approx(losses(directory / "one_whole"), abs=2e-5)
    assert losses(directory / "moved")[7:] != losses(directory / "moved")[:5]


def test_a_killed_run_continues_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    """SIGKILL in mid-run; then a newer checkpoint that is damaged, and the rest of one that was being written."""
    write_data(tmp_path)
    job = _job(tmp_path, "killed", train_iters=400)
    job["training"]["keep_checkpoints"] = 2
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    output = tmp_path / "killed"
    ranks = start_ranks(1, [sys.executable, str(ROOT / "tests/parallel/ranks.py"), str(tmp_path)], tmp_path)
    try:
        _wait_for_lines(output / "metrics.jsonl", 8)
    finally:
        end(ranks)
    checkpoints = output / "checkpoints"
    newest = max(checkpoints.glob("step_*"))
    damaged = checkpoints / "step_00000399"
    shutil.copytree(newest, damaged)
    next(damaged.glob("*.safetensors")).write_bytes(b"cut off")
    shutil.copytree(newest, checkpoints / ".step_00000398.0123abcd.tmp")
    with (output / "metrics.jsonl").open("a") as handle:
        handle.write('{"step": 9')

    last = int(newest.name.removeprefix("step_")) + 4
    job["training"] |= {"train_iters": last, "output_dir": str(output)}
    whole = merge(job, {"training": {"output_dir": str(tmp_path / "whole")}})
    for run in (job, whole):
        run["optimizer"]["lr_decay_iters"] = STEPS
    run_ranks(1, [job, whole], tmp_path / "continued")
    assert [line["step"] for line in metrics(output)] == list(range(1, last + 1))
    assert losses(output) == losses(tmp_path / "whole")
    log = (tmp_path / "continued" / "rank0.log").read_text()
    kept = [f"step_{step:08d}" for step in (last - 1, last, 399)]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["latest.txt", *kept]
    assert "step_00000399" in log and "taking the checkpoint before it" in log
    assert (checkpoints / "latest.txt").read_text().strip() == f"step_{last:08d}"


def _wait_for_lines(path: Path, count: int) -> None:
    end_at = time.monotonic() + 200
    while time.monotonic() < end_at:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not reach {count} lines")
