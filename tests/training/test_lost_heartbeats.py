"""A rank's signs of life outlast the loss of their files; what cannot be written does not end a run."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_codex.heartbeat import HEARTBEATS, STACKS_SIGNAL, Heartbeat, read_heartbeats, stacks_path, this_attempt
from megatron_codex.parallel.collective_calls import CollectiveCalls
from megatron_codex.training import heart as heart_module
from megatron_codex.training.heart import Heart


@pytest.fixture
def heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heart:
    monkeypatch.setattr(heart_module, "_WRITE_S", 0.01)
    limits = {"hang_timeout_s": 60.0, "start_timeout_s": 60.0}
    return Heart(tmp_path, rank=0, world_size=1, calls=CollectiveCalls(), **limits)


def _last(run: Path) -> Heartbeat | None:
    return read_heartbeats(run, attempt=this_attempt()).get(0)


def _wait_for(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["removed", "moved_away", "file_removed"])
def test_heartbeats_that_somebody_removes_are_written_anew(heart: Heart, tmp_path: Path, how: str) -> None:
    with heart:
        heart.beat(step=1, phase="step")
        _wait_for(lambda: (beat := _last(tmp_path)) and beat.step == 1)
        if how == "removed":
            shutil.rmtree(tmp_path / HEARTBEATS)
        elif how == "moved_away":
            (tmp_path / HEARTBEATS).rename(tmp_path / "moved")
        else:
            for path in (tmp_path / HEARTBEATS).iterdir():
                path.unlink()
        heart.beat(step=2, phase="step")
        _wait_for(lambda: (beat := _last(tmp_path)) and beat.step == 2)
        os.kill(os.getpid(), STACKS_SIGNAL)
        _wait_for(lambda: "test_heartbeats_that" in stacks_path(tmp_path, 0).read_text())
    assert (beat := _last(tmp_path)) is not None and beat.phase == "ended"


def test_a_heartbeat_that_cannot_be_written_is_said_once_and_ends_nothing(
    heart: Heart, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with heart:
        shutil.rmtree(tmp_path / HEARTBEATS)
        (tmp_path / HEARTBEATS).write_text("no directory")
        for step in (1, 2, 3):
            heart.beat(step=step, phase="step")
            time.sleep(0.05)
        _wait_for(lambda: caplog.messages)
        (tmp_path / HEARTBEATS).unlink()
        heart.beat(step=4, phase="step")
        _wait_for(lambda: (beat := _last(tmp_path)) and beat.step == 4)
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "no sign of life can be written (File exists)" in warning.getMessage()
