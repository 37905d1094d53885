"""A run that is killed continues as if it had not been: bitwise in its layout, within rounding in another."""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_codex.config.convert import ConvertConfig
from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.convert.run import convert
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import read_checkpoint_manifest, step_directories
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.weights import read_weights
from megatron_codex.training.start import find_start
from tests.convert.conftest import write_run
from tests.parallel.jobs import Job, losses, merge, metrics, prompted_job, write_data
from tests.parallel.ranks import end, run_ranks, start_ranks, train_jobs
from tests.training import kill_at_random

pytestmark = pytest.mark.multirank

STEPS = 12
SAVE_INTERVAL = 3
KILL_STEPS = 40
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


def _moving(directory: Path, name: str, **sections: Any) -> Job:
    """A run that changes its layout on the way: no dropout, whose masks belong to a layout."""
    return _job(directory, name, model={"hidden_dropout": 0.0, "attention_dropout": 0.0}, **sections)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole runs and stopped runs of two ranks, and their continuation; one that moves from layout to layout."""
    directory = tmp_path_factory.mktemp("resume")
    write_data(directory)
    first = {"parallel": {"tensor_model_parallel_size": 2, "pipeline_model_parallel_size": 2}}
    run_ranks(4, [_moving(directory, "moved", train_iters=4, **first)], directory / "four_ranks")
    sharded = {"parallel": SHARDED_TP2}
    pipeline_bf16 = {"parallel": {"pipeline_model_parallel_size": 2}, "training": {"precision": "bf16"}}
    jobs = [_moving(directory, "stayed"), _moving(directory, "moved", train_iters=8, parallel=SHARDED_DP2)]
    for name, sections in (("tp2", sharded), ("pp2_bf16", pipeline_bf16), ("dp2", {"parallel": SHARDED_DP2})):
        # One of them is written in the background, and keeps little.
        background = {"asynchronous_saves": True, "keep_checkpoints": 1, "keep_interval": 6} if name == "dp2" else {}
        if name == "dp2":  # twelve steps of 8 samples out of 50: epochs begin within batches
            sections = sections | {"data": {"group_by_length": True}}
        jobs.append(merge(_job(directory, f"{name}_whole"), sections))
        jobs.append(merge(merge(_job(directory, f"{name}_parts", train_iters=7), sections), {"training": background}))
        jobs.append(merge(merge(_job(directory, f"{name}_parts"), sections), {"training": background}))
    full = merge(_job(directory, "full_disk", **sharded), {"training": {"asynchronous_saves": True}})
    kill_whole = kill_at_random.job(directory, "kill_whole", steps=KILL_STEPS, asynchronous=True, parallel=SHARDED_TP2)
    started = merge(_job(directory, "started", train_iters=1), {"optimizer": {"lr": 1e-20, "lr_warmup_iters": 0}})
    started["training"]["init_from"] = str(_write_weights(directory / "weights", started))
    jobs += [full | {"max_file_bytes": 30_000}, kill_whole, merge(started, sharded)]
    outcomes = run_ranks(2, jobs, directory / "two_ranks")
    (directory / "full_disk_outcome").write_text(outcomes[-3])
    last = {"parallel": {"tensor_model_parallel_size": 4}}
    run_ranks(4, [_moving(directory, "moved", **last)], directory / "four_ranks_again")
    return directory


def _write_weights(run: Path, job: Job) -> Path:
    """A checkpoint of weights alone, as a conversion writes it, of the job's model."""
    model, tokenizer = build_config(ModelConfig, job["model"]), build_config(TokenizerConfig, job["tokenizer"])
    return write_run(run, model, tokenizer, sizes=(1, 2, 1))


@pytest.mark.parametrize("name", ["tp2", "pp2_bf16", "dp2"])
def test_a_resumed_run_is_bitwise_the_whole_run(directory: Path, name: str) -> None:
    whole, parts = metrics(directory / f"{name}_whole"), metrics(directory / f"{name}_parts")
    assert [line["step"] for line in parts] == list(range(1, STEPS + 1))
    for field in ("loss", "grad_norm", "lr", "num_tokens"):
        assert [line[field] for line in parts] == [line[field] for line in whole]
    expected, got = (_last_tensors(directory / f"{name}_{kind}") for kind in ("whole", "parts"))
    assert expected.names == got.names
    for tensor_name in expected.names:  # the optimizer's, too
        assert torch.equal(got.read(tensor_name), expected.read(tensor_name)), tensor_name


def test_a_run_resumes_in_other_layouts(directory: Path) -> None:
    """TP2 x PP2 for 4 steps, DP2 with a distributed optimizer for 4, TP4 for 4: the losses of a run that stayed."""
    assert losses(directory / "moved") == pytest.approx(losses(directory / "stayed"), abs=1e-5)
    assert len(set(losses(directory / "moved"))) == STEPS


def test_last_and_every_sixth_checkpoint_are_kept(directory: Path) -> None:
    """Saved at 3, 6, 7 (the end of the first part), 9, 12."""
    kept = step_directories(directory / "dp2_parts" / "checkpoints")
    assert [path.name for path in kept] == ["step_00000006", "step_00000012"]


def test_each_rank_writes_what_it_owns(directory: Path) -> None:
    """Two data-parallel ranks: half of the weights and of the optimizer's state each, whoever owns the optimizer."""
    for name in ("dp2_whole", "stayed"):
        step = directory / name / "checkpoints" / f"step_{STEPS:08d}"
        sizes = [path.stat().st_size for path in sorted(step.glob("*.safetensors"))]
        assert len(sizes) == 2 and max(sizes) < 0.6 * sum(sizes)


def test_the_manifest_says_where_the_run_stands(directory: Path) -> None:
    manifest = read_checkpoint_manifest(directory / "tp2_whole" / "checkpoints" / "step_00000009")
    assert manifest["step"] == manifest["num_updates"] == manifest["random_numbers"]["step"] == 9
    assert manifest["data_position"] == {"samples": 72}
    assert manifest["random_numbers"]["seed"] == 1 and manifest["has_optimizer"]
    assert manifest["config"]["parallel"]["tensor_model_parallel_size"] == 2 == manifest["num_writers"]
    assert len(manifest["data_fingerprint"]) >= 16 and "torch" in manifest["versions"]


def test_a_disk_that_fills_up_in_the_background_stops_the_run(directory: Path) -> None:
    checkpoints = directory / "full_disk" / "checkpoints"
    outcome = (directory / "full_disk_outcome").read_text()
    assert outcome.startswith(f"WorkError: {checkpoints}/.step_00000003.")
    assert "cannot be written (rank 0: [Errno 27] File too large" in outcome and "\n" not in outcome
    assert not list(checkpoints.iterdir())
    assert 3 < len(metrics(directory / "full_disk")) < STEPS  # training had gone on


def test_a_kill_in_the_middle_of_a_background_save_leaves_no_trace(directory: Path) -> None:
    """tests/training/kill_at_random.py does this many times on four ranks."""
    job = kill_at_random.job(directory, "killed", steps=KILL_STEPS, asynchronous=True, parallel=SHARDED_TP2)
    moment = kill_at_random.Moment(after="save", seconds=0.2, save_seconds=0.002)
    met = kill_at_random.run(directory, "killed_ranks", job, world_size=2, moment=moment)
    assert met is not None and 0 < met.step < KILL_STEPS
    assert kill_at_random.run(directory, "killed_ranks", job, world_size=2) is None
    assert kill_at_random.difference(directory / "kill_whole", directory / "killed") is None
    assert not list((directory / "killed" / "checkpoints").glob(".*"))


def test_a_run_starts_from_converted_weights(directory: Path) -> None:
    """One step of no length: what was read is what is written."""
    before, after = read_weights(directory / "weights"), read_weights(directory / "started")
    for name, tensor in before.tensors.items():
        assert torch.equal(after.tensors[name], tensor), name


@pytest.fixture
def stopped(directory: Path, tmp_path: Path) -> tuple[Path, TrainConfig, str]:
    """A copy of a run's checkpoints, the run's configuration there, and its data's fingerprint."""
    shutil.copytree(directory / "tp2_whole" / "checkpoints", tmp_path / "run" / "checkpoints")
    job = _job(directory, "x", parallel=SHARDED_TP2)
    config = build_config(TrainConfig, merge(job, {"training": {"output_dir": str(tmp_path / "run")}}))
    checkpoints = tmp_path / "run" / "checkpoints"
    return checkpoints, config, read_checkpoint_manifest(checkpoints / "step_00000012")["data_fingerprint"]


def test_auto_takes_the_checkpoint_before_a_damaged_one(
    stopped: tuple[Path, TrainConfig, str], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints, config, fingerprint = stopped
    assert find_start(config, data_fingerprint=fingerprint) == checkpoints / "step_00000012"
    _cut(checkpoints / "step_00000012" / "shard_00001.safetensors")
    (checkpoints / "step_00000009" / "shard_00000.safetensors").unlink()
    assert find_start(config, data_fingerprint=fingerprint) == checkpoints / "step_00000006"
    first, second = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "step_00000012: shard_00001.safetensors has" in first and "taking the checkpoint before it" in first
    assert "step_00000009: shard_00000.safetensors has no file" in second
    for step in ("step_00000003", "step_00000006"):
        (checkpoints / step / "manifest.json").unlink()
    with pytest.raises(
        InputError, match=r"no checkpoint here is whole; of step_00000012, shard_00001\.safetensors has"
    ):
        find_start(config, data_fingerprint=fingerprint)  # not a new run, which would write over what is left


def test_a_checkpoint_that_is_gone_is_missed(
    stopped: tuple[Path, TrainConfig, str], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints, config, fingerprint = stopped
    shutil.rmtree(checkpoints / "step_00000012")
    assert find_start(config, data_fingerprint=fingerprint) == checkpoints / "step_00000009"
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warning.endswith("step_00000012: latest.txt names it, and it is gone; taking the checkpoint before it")
    for step in (3, 6, 9):
        shutil.rmtree(checkpoints / f"step_{step:08d}")
    with pytest.raises(InputError, match=r"there is no checkpoint here, and latest\.txt names step_00000012; bring it"):
        find_start(config, data_fingerprint=fingerprint)


def test_steps_that_are_done_anew_are_told(
    stopped: tuple[Path, TrainConfig, str], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints, config, fingerprint = stopped
    shutil.rmtree(checkpoints)
    assert find_start(config, data_fingerprint=fingerprint) is None
    assert not caplog.records
    (checkpoints.parent / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    assert find_start(config, data_fingerprint=fingerprint) is None
    assert "the 2 steps of metrics.jsonl are done anew" in caplog.text


def test_a_named_checkpoint_is_taken_or_refused(stopped: tuple[Path, TrainConfig, str]) -> None:
    checkpoints, config, fingerprint = stopped

    def start(name: str) -> Path | None:
        named = replace(config, training=replace(config.training, resume=str(checkpoints / name)))
        return find_start(named, data_fingerprint=fingerprint)

    assert start("step_00000012") == checkpoints / "step_00000012"
    with pytest.raises(InputError, match="step_00000012 is a later step of the run; move the later steps away"):
        start("step_00000009")
    with pytest.raises(InputError, match="must be auto, never or the directory of a step's checkpoint"):
        start("step_00000099")
    _cut(checkpoints / "step_00000012" / "index.json")
    with pytest.raises(
        InputError, match=r"training\.resume: got .*; the checkpoint is damaged: index\.json has"
    ) as caught:
        start("step_00000012")
    assert "\n" not in str(caught.value)


def test_a_converted_checkpoint_continues_its_run(stopped: tuple[Path, TrainConfig, str], tmp_path: Path) -> None:
    checkpoints, config, fingerprint = stopped
    output = tmp_path / "converted"
    source = checkpoints / "step_00000009"
    for name in ("resumable", "weights"):
        convert(ConvertConfig(input=source, output=output / name, to="checkpoint", weights_only=name == "weights"))

    def start(name: str) -> Path | None:
        there = replace(config, training=replace(config.training, output_dir=output / name))
        return find_start(there, data_fingerprint=fingerprint)

    assert start("resumable") == output / "resumable" / "checkpoints" / "step_00000009"
    with pytest.raises(InputError, match="has weights only, no optimizer state to continue with"):
        start("weights")


def test_another_run_is_refused_with_field_old_and_new_value(stopped: tuple[Path, TrainConfig, str]) -> None:
    _, config, fingerprint = stopped
    others = {
        "model.num_layers: got 2; ": replace(config, model=replace(config.model, num_layers=2)),
        "training.seed: got 5; ": replace(config, training=replace(config.training, seed=5)),
        "data.group_by_length: got True; ": replace(config, data=replace(config.data, group_by_length=True)),
        "data.layout: got 'packed'; ": replace(config, data=replace(config.data, layout="packed")),
        "data: got 'other'; is not the data": config,
    }
    olds = (" has 4;", " has 1;", " has False;", " has 'left_padded', ", f"(fingerprint {fingerprint})")
    for (line, other), old in zip(others.items(), olds, strict=True):
        same_data = line.startswith(("model", "training", "data.group"))
        with pytest.raises(InputError) as caught:
            find_start(other, data_fingerprint=fingerprint if same_data else "other")
        assert str(caught.value).startswith(line)
        assert old in str(caught.value)
        assert "\n" not in str(caught.value)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _last_tensors(run: Path) -> CheckpointTensors:
    return CheckpointTensors(run / "checkpoints" / f"step_{STEPS:08d}")


def test_a_killed_run_continues_from_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    """SIGKILL in mid-run; then a newer checkpoint that is damaged, and the rest of one that was being written."""
    write_data(tmp_path)
    job = _job(tmp_path, "killed", train_iters=400)
    job["training"]["keep_checkpoints"] = 2
    (tmp_path / "jobs.json").write_text(json.dumps([job]))
    output = tmp_path / "killed"
    ranks = start_ranks(1, train_jobs, tmp_path)
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
