"""A step that cannot be taken is named with its rank, is refused on all ranks, and costs nothing that was done."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.model.checkpoint_files import newest_checkpoint
from tests.parallel.jobs import Job, base_job, metrics, write_data
from tests.parallel.ranks import run_ranks

pytestmark = pytest.mark.multirank

SKIPS = {"loss_spike_factor": 1000.0, "max_skipped_in_a_row": 2}


def _job(directory: Path, name: str, plant: dict[str, object], **training: object) -> Job:
    settings = {"output_dir": str(directory / name), "eval_interval": 0, "save_interval": 100} | training
    parallel = {"tensor_model_parallel_size": 2} if name.startswith("tensor") else {"use_distributed_optimizer": True}
    return base_job(directory, training=settings, parallel=parallel) | {"plant": plant}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("refused")
    write_data(directory)
    return directory


@pytest.fixture(scope="module")
def outcomes(directory: Path) -> dict[str, str]:
    unreadable = {"kind": "unreadable", "rank": 1, "steps": [4]}
    bad = {"kind": "bad_gradient", "rank": 1, "steps": [3]}
    jobs = {
        "unreadable": _job(directory, "unreadable", unreadable),
        "tensor_unreadable": _job(directory, "tensor_unreadable", unreadable),
        "bad": _job(directory, "bad", bad),
        "tensor_bad": _job(directory, "tensor_bad", bad),
        "once": _job(directory, "once", bad | {"once": True}),
        "skipped": _job(directory, "skipped", bad, **SKIPS),
        "read_only": _job(directory, "read_only", {"kind": "read_only", "rank": 1}),
        "skipped_often": _job(directory, "skipped_often", bad | {"steps": [3, 4]}, **SKIPS),
    }
    return dict(zip(jobs, run_ranks(2, list(jobs.values()), directory / "ranks"), strict=True))


@pytest.mark.parametrize("name", ["unreadable", "tensor_unreadable"])
def test_samples_that_one_rank_cannot_read_end_the_run_after_a_checkpoint(
    outcomes: dict[str, str], directory: Path, name: str
) -> None:
    assert outcomes[name].startswith(
        "WorkError: data: rank 1 cannot read the samples of step 4: [Errno 5] Input/output"
    )
    assert "\n" not in outcomes[name]
    saved = newest_checkpoint(directory / name / "checkpoints")
    assert saved is not None and saved.name == "step_00000003"


@pytest.mark.parametrize("name", ["bad", "tensor_bad"])
def test_a_gradient_that_is_not_finite_is_named_with_its_rank_and_leaves_the_weights(
    outcomes: dict[str, str], directory: Path, name: str
) -> None:
    assert outcomes[name].startswith("WorkError: step 3: gradient norm is nan; it comes from rank 1 (first in decoder.")
    assert "rank 0" not in outcomes[name]
    saved = newest_checkpoint(directory / name / "checkpoints")
    assert saved is not None and saved.name == "step_00000002"


def test_a_gradient_that_is_not_finite_once_is_the_machines(outcomes: dict[str, str]) -> None:
    assert "run once more, the step has a finite gradient on every rank" in outcomes["once"]


def test_a_gradient_that_is_not_finite_is_skipped_on_request_and_counted(
    outcomes: dict[str, str], directory: Path
) -> None:
    assert "1 of them skipped" in outcomes["skipped"]
    lines = metrics(directory / "skipped")
    assert [line["grad_norm"] is None for line in lines] == [False, False, True, False, False]
    assert lines[2]["skipped"].startswith("gradient norm is nan; it comes from rank 1 (first in ")
    assert all(line["loss"] is not None for line in lines)


def test_too_many_bad_gradients_in_a_row_end_the_run(outcomes: dict[str, str]) -> None:
    assert outcomes["skipped_often"].startswith("WorkError: step 4: gradient norm is nan; it comes from rank 1")
    assert "2 batches in a row were skipped" in outcomes["skipped_often"]


def test_a_rank_that_may_not_write_checkpoints_says_so_before_the_first_step(
    outcomes: dict[str, str], directory: Path
) -> None:
    place = directory / "read_only"
    assert outcomes["read_only"].startswith(
        f"WorkError: {place}/checkpoints: the checkpoint cannot be written (rank 1: "
    )
    assert "Permission denied" in outcomes["read_only"] and "\n" not in outcomes["read_only"]
    assert "allow to write there" in outcomes["read_only"]
    assert not (place / "checkpoints").exists() and not metrics(place)
