"""Runs that cannot go on say so in one line; batches without a token to train on change nothing; starts are checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_codex.data.order import ShuffledOrder
from megatron_codex.model.checkpoint_files import newest_checkpoint
from megatron_codex.model.weights import read_weights
from tests.parallel.jobs import Job, base_job, losses, merge, metrics, prompted_job, write_data
from tests.parallel.ranks import ROOT, run_ranks

pytestmark = pytest.mark.multirank

BLANK_EVERY = 3


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("faults")
    write_data(directory)
    return directory


def _job(directory: Path, name: str, **training: Any) -> Job:
    return base_job(directory, training={"output_dir": str(directory / name), "eval_interval": 0} | training)


@pytest.fixture(scope="module")
def outcomes(directory: Path) -> dict[str, str]:
    """What each of many runs, one after the other on one rank, reported."""
    first = _job(directory, "first")
    initialised = {"init_from": str(directory / "first"), "train_iters": 1}
    blank = {"train_iters": 12, "global_batch_size": 1, "micro_batch_size": 1}
    spoilt = {"optimizer": {"lr": 1e30, "lr_warmup_iters": 0}}
    # A factor so near to 1 that some of the batches are above it; the learning rate's decay is that of the whole run.
    spiky = {
        "training": {
            "train_iters": 16,
            "global_batch_size": 1,
            "micro_batch_size": 1,
            "loss_spike_factor": 1.01,
            "loss_spike_window": 2,
            "max_skipped_in_a_row": 8,
        },
        "optimizer": {"lr": 1e-4},
    }
    jobs = {
        "first": first,
        "again": first,
        "never": merge(first, {"training": {"resume": "never"}}),
        "other_batch": merge(first, {"training": {"global_batch_size": 4}}),
        "other_data": merge(first, {"data": {"split": "80,20,0"}}),
        "other_model": merge(first, {"model": {"num_layers": 2}}),
        "nan": merge(_job(directory, "nan"), {"optimizer": {"lr": 1e30, "lr_warmup_iters": 0}}),
        "vocabulary": merge(_job(directory, "vocabulary"), {"tokenizer": {"vocab_size": 257, "max_run": 1}}),
        "from_first": _job(directory, "from_first", **initialised),
        "from_other": merge(_job(directory, "x", **initialised), {"tokenizer": {"vocab_size": 301}}),
        "from_nothing": _job(directory, "y", init_from=str(directory / "data")),
        "decayed": _job(directory, "decayed", train_iters=1),
        "undecayed": merge(_job(directory, "undecayed", train_iters=1), {"optimizer": {"weight_decay": 0.0}}),
        "filling_disk": _job(directory, "full_disk", train_iters=2),
        "full_disk": _job(directory, "full_disk") | {"max_file_bytes": 20_000},
        "spoilt": merge(_job(directory, "spoilt", loss_spike_factor=2.0, max_skipped_in_a_row=3), spoilt),
        "spiky": merge(_job(directory, "spiky"), spiky),
        "spiky_parts": merge(merge(_job(directory, "spiky_parts"), spiky), {"training": {"train_iters": 9}}),
        "spiky_rest": merge(_job(directory, "spiky_parts"), spiky),
        "blank": _job(directory, "blank", **blank) | {"blank_every": BLANK_EVERY},
    }
    return dict(zip(jobs, run_ranks(1, list(jobs.values()), directory / "ranks1"), strict=True))


def test_a_finished_run_says_so_and_changes_nothing(outcomes: dict[str, str], directory: Path) -> None:
    assert outcomes["first"].startswith("base: 5 steps, 1,920 tokens")
    assert outcomes["again"].startswith("base: all 5 steps were done before")
    assert len(metrics(directory / "first")) == 5
    manifest = json.loads((directory / "first" / "manifest.json").read_text())
    assert manifest["counts"]["tokens"] == 1920


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("never", "InputError: training.resume: got 'never'"),
        ("other_batch", "InputError: training.global_batch_size: got 4"),
        ("other_data", "InputError: data.split: got '80,20,0'"),
        ("other_model", "InputError: model.num_layers: got 2"),
        ("vocabulary", "InputError: data: has token ids beyond the vocabulary of 257"),
        ("from_other", "InputError: tokenizer.vocab_size: got 301"),
        ("from_nothing", "InputError:"),
        ("nan", "WorkError: step 2: loss is nan"),
    ],
)
def test_what_cannot_go_on_says_why(outcomes: dict[str, str], name: str, line: str) -> None:
    assert outcomes[name].startswith(line)
    assert "\n" not in outcomes[name]


def test_a_disk_that_fills_up_costs_no_checkpoint(outcomes: dict[str, str], directory: Path) -> None:
    checkpoints = directory / "full_disk" / "checkpoints"
    assert outcomes["full_disk"].startswith(f"WorkError: {checkpoints}/.step_00000005.")
    assert "the checkpoint cannot be written (rank 0: [Errno 27] File too large" in outcomes["full_disk"]
    assert sorted(path.name for path in checkpoints.iterdir()) == ["latest.txt", "step_00000002"]
    assert "\n" not in outcomes["full_disk"]
    assert newest_checkpoint(checkpoints) == checkpoints / "step_00000002"


def test_a_run_that_diverges_leaves_no_checkpoint(outcomes: dict[str, str], directory: Path) -> None:
    assert not (directory / "nan" / "checkpoints").exists()


def test_init_from_takes_the_weights_and_no_more(outcomes: dict[str, str], directory: Path) -> None:
    """The first loss is that of the other run's last weights on this run's first batch; Adam starts anew."""
    trained, last = metrics(directory / "from_first"), metrics(directory / "first")[-1]
    assert trained[0]["loss"] < metrics(directory / "first")[0]["loss"]
    assert trained[0]["loss"] == pytest.approx(last["loss"], rel=0.2)
    moved = read_weights(directory / "from_first").tensors["decoder.layers.0.mlp.linear_fc1.weight"]
    before = read_weights(directory / "first").tensors["decoder.layers.0.mlp.linear_fc1.weight"]
    # One first step of Adam moves a weight by the learning rate (3e-3 / 2: half of the warm-up) and its decay.
    assert (moved - before).abs().max().item() == pytest.approx(1.5e-3, rel=0.1)


def test_only_matrices_decay(outcomes: dict[str, str], directory: Path) -> None:
    decayed, plain = (read_weights(directory / name).tensors for name in ("decayed", "undecayed"))
    equal = {name for name, tensor in plain.items() if torch.equal(decayed[name], tensor)}
    assert equal == {name for name, tensor in plain.items() if tensor.dim() == 1}


def test_a_batch_without_tokens_is_skipped_and_counted(outcomes: dict[str, str], directory: Path) -> None:
    lines = metrics(directory / "blank")
    manifest = json.loads((directory / "blank" / "manifest.json").read_text())
    order = ShuffledOrder(manifest["counts"]["train_samples"], 1)
    blank = [order(position) % BLANK_EVERY == 0 for position in range(12)]
    assert [line["loss"] is None for line in lines] == blank
    assert [line["num_tokens"] == 0 for line in lines] == blank
    assert manifest["counts"]["steps_without_tokens"] == sum(blank) > 0
    assert f"{sum(blank)} of them without a token" in outcomes["blank"]


def test_batches_that_stay_spoilt_end_the_run_in_one_line(outcomes: dict[str, str], directory: Path) -> None:
    assert outcomes["spoilt"].startswith("WorkError: step 4: loss is nan, the limit inf, and 3 batches in a row")
    assert "\n" not in outcomes["spoilt"]
    lines = metrics(directory / "spoilt")
    assert [line["loss"] is None for line in lines] == [False, True, True]
    assert [line.get("skipped") for line in lines] == [None, "loss nan", "loss nan"]


def test_a_spike_is_skipped_counted_and_the_same_after_a_resume(outcomes: dict[str, str], directory: Path) -> None:
    lines = metrics(directory / "spiky")
    skipped = [line for line in lines if "skipped" in line]
    assert 0 < len(skipped) < 14
    for line in skipped:
        assert line["grad_norm"] is None and line["num_tokens"] == 0
    taken: list[float] = []
    for line in lines:
        above = len(taken) >= 2 and line["loss"] > 1.01 * sum(taken[-2:]) / 2
        assert above == ("skipped" in line)
        taken += [] if above else [line["loss"]]
    manifest = json.loads((directory / "spiky" / "manifest.json").read_text())
    assert manifest["counts"]["skipped_steps"] == len(skipped)
    assert manifest["counts"]["steps_without_tokens"] == 0
    assert f"{len(skipped)} of them skipped for their loss" in outcomes["spiky"]
    fields = ("loss", "grad_norm", "lr", "num_tokens", "skipped")
    parts = metrics(directory / "spiky_parts")
    assert [[line.get(name) for name in fields] for line in parts] == [
        [line.get(name) for name in fields] for line in lines
    ]


def test_a_rank_without_tokens_does_not_bend_the_loss(directory: Path) -> None:
    """Blank samples on some data-parallel ranks, in some micro-batches: still tokens over all ranks."""
    jobs = []
    for name, parallel in (("even", {}), ("pipelined", {"pipeline_model_parallel_size": 2})):
        job = prompted_job(directory, parallel=parallel, training={"output_dir": str(directory / name)})
        job["training"] |= {"global_batch_size": 4, "micro_batch_size": 1, "eval_interval": 0}
        jobs.append(job | {"blank_every": 2})
    run_ranks(2, jobs, directory / "ranks2")
    assert losses(directory / "even") == pytest.approx(losses(directory / "pipelined"), abs=1e-5)
    tensors = read_weights(directory / "even").tensors
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def test_faulty_input_ends_every_rank_with_code_2_and_one_line(directory: Path) -> None:
    command = [sys.executable, "tools/train.py", "--config", str(directory / "missing.yaml")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1 and "missing.yaml" in process.stderr

    job = _job(directory, "z")
    (directory / "job.yaml").write_text(json.dumps(job))
    command = [
        sys.executable,
        "tools/train.py",
        "--config",
        str(directory / "job.yaml"),
        "training.global_batch_size=3",
    ]
    lines = []
    for rank in ("0", "1"):  # no rank needs the other to see this
        environment = os.environ | {"RANK": rank, "WORLD_SIZE": "2"}
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        assert process.returncode == 2
        lines.append(process.stderr)
    assert lines[0].startswith("error: ") and lines[0].count("\n") == 1 and "global_batch_size" in lines[0]
    assert lines[1] == ""
