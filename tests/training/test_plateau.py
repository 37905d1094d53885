"""Runs that end when the validation loss no longer falls: when, what they keep, and that a stop in between changes
nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.training import TrainingConfig
from megatron_codex.errors import ConfigError
from megatron_codex.model.checkpoint_files import resolve_checkpoint, step_directories, step_number
from megatron_codex.training.plateau import Plateau
from tests.parallel.jobs import Job, metrics, prompted_job, write_data
from tests.parallel.ranks import run_ranks

PATIENCE = 2
STEPS = 40


def _config(patience: int | None = PATIENCE, eval_interval: int = 1) -> TrainingConfig:
    return TrainingConfig(
        output_dir=Path("x"), train_iters=9, global_batch_size=1, eval_interval=eval_interval, patience=patience
    )


def _after(losses: list[float | None], config: TrainingConfig) -> Plateau:
    plateau = Plateau()
    for step, loss in enumerate(losses, 1):
        plateau = plateau.after(step, loss, config)
    return plateau


@pytest.mark.parametrize(
    ("losses", "best_step", "ended"),
    [
        ([3.0, 2.0, 1.0], 3, False),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.0], 2, True),
        ([3.0, 2.0, 2.5, 1.9, 1.95], 4, False),
        ([3.0, None, None, None], 1, False),
        ([], None, False),
    ],
)
def test_patience_counts_evaluations_since_the_best(
    losses: list[float | None], best_step: int | None, ended: bool
) -> None:
    plateau = _after(losses, _config())
    assert plateau.best_step == best_step
    assert plateau.has_ended(_config()) == ended
    assert Plateau.from_manifest(json.loads(json.dumps(dataclasses.asdict(plateau)))) == plateau


def test_without_patience_nothing_is_looked_at() -> None:
    assert _after([1.0, 2.0, 3.0, 4.0], _config(patience=None)) == Plateau()
    assert not Plateau(best_loss=1.0, best_step=1, num_worse=9).has_ended(_config(patience=None))


def test_patience_needs_evaluations() -> None:
    with pytest.raises(ConfigError, match="patience: got 2; needs evaluations, and eval_interval is 0"):
        _config(eval_interval=0)
    with pytest.raises(ConfigError, match="patience: got 0; must be at least 1"):
        _config(patience=0)


def _job(directory: Path, name: str, **training: Any) -> Job:
    values = {
        "output_dir": str(directory / name),
        "train_iters": STEPS,
        "eval_interval": 2,
        "patience": PATIENCE,
        "save_interval": 3,
        "keep_checkpoints": 1,
    }
    # A rate at which the model soon does worse on what it has not seen.
    return prompted_job(directory, training={**values, **training}, optimizer={"lr": 0.05, "lr_warmup_iters": 0})


@pytest.mark.multirank
def test_a_run_ends_keeps_its_best_and_ends_there_again_when_it_was_stopped(tmp_path: Path) -> None:
    write_data(tmp_path)
    first = _job(tmp_path, "whole")
    (whole,) = run_ranks(1, [first], tmp_path / "one")
    lines = metrics(tmp_path / "whole")
    losses = {line["step"]: line["valid_loss"] for line in lines if "valid_loss" in line}
    best = min(losses, key=lambda step: losses[step])
    last = lines[-1]["step"]
    assert last == best + 2 * PATIENCE < STEPS
    assert f"after step {best} (checkpoints/best), {PATIENCE} evaluations since then were not better" in whole
    checkpoints = tmp_path / "whole" / "checkpoints"
    assert [step_number(path) for path in step_directories(checkpoints)] == [best, last]
    assert resolve_checkpoint(checkpoints / "best").resolve().name == f"step_{best:08d}"
    stop = best + PATIENCE
    again = run_ranks(
        1, [_job(tmp_path, "parts", train_iters=stop), _job(tmp_path, "parts"), first], tmp_path / "again"
    )
    assert "nothing to do" in again[2]
    assert again[1].partition(" in ")[0] == whole.partition(" in ")[0]
    continued = {line["step"]: line["valid_loss"] for line in metrics(tmp_path / "parts") if "valid_loss" in line}
    assert continued == losses
