"""A signal to any rank stops all of them after the same step, with a checkpoint; the next start ends bitwise equal."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from pathlib import Path

import pytest

from megatron_codex.errors import StoppedError, run_command
from megatron_codex.exit_codes import ExitCode
from megatron_codex.model.checkpoint_files import newest_checkpoint
from megatron_codex.training.stop_signals import STOPPING, StopSignals
from tests.parallel.jobs import base_job, metrics, write_data
from tests.parallel.ranks import TIMEOUT_S, end, run_ranks, start_ranks, train_jobs
from tests.training.kill_at_random import difference

STEPS = 40


@pytest.mark.multirank
def test_a_signal_to_one_rank_stops_all_after_a_checkpoint_that_goes_on_bitwise(tmp_path: Path) -> None:
    write_data(tmp_path)
    training = {"train_iters": STEPS, "eval_interval": 0, "asynchronous_saves": True}
    whole, stopped = (
        base_job(tmp_path, training=training | {"output_dir": str(tmp_path / name)}) for name in ("whole", "stopped")
    )
    place = tmp_path / "ranks"
    place.mkdir()
    (place / "jobs.json").write_text(json.dumps([stopped]))
    ranks = start_ranks(2, train_jobs, place)
    try:
        _wait_for_steps(tmp_path / "stopped", 3)
        pid = ranks[1].pid
        assert pid is not None
        os.kill(pid, signal.SIGUSR1)
        for process in ranks:
            process.join(TIMEOUT_S)
    finally:
        end(ranks)
    (outcome,) = json.loads((place / "outcomes.json").read_text())
    done = len(metrics(tmp_path / "stopped"))
    assert 3 <= done < STEPS
    assert outcome == (
        f"StoppedError: 1 of 2 ranks were told by a signal to stop after step {done}; its checkpoint is written: "
        f"step_{done:08d}; the same command goes on"
    )
    saved = newest_checkpoint(tmp_path / "stopped" / "checkpoints")
    assert saved is not None and saved.name == f"step_{done:08d}"
    run_ranks(2, [whole, stopped], tmp_path / "again")
    assert difference(tmp_path / "whole", tmp_path / "stopped") is None


def test_each_signal_is_answered_at_once_and_the_second_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    before = [signal.getsignal(number) for number in STOPPING]
    with StopSignals(doing=lambda: "step 7") as signals:
        assert signals.asked is None
        os.kill(os.getpid(), signal.SIGUSR1)
        _wait_for_lines(caplog, 1)
        assert signals.asked == signal.SIGUSR1
        os.kill(os.getpid(), signal.SIGTERM)
        _wait_for_lines(caplog, 2)
        assert signals.asked == signal.SIGUSR1
    first, second = caplog.messages
    assert first.startswith("SIGUSR1: stopping at the end of this step") and "step 7" in first
    assert second.startswith("SIGTERM") and "s after SIGUSR1" in second and "the one before it" in second
    assert [signal.getsignal(number) for number in STOPPING] == before


def test_a_stopped_run_ends_with_its_own_exit_code_and_without_the_word_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop() -> None:
        raise StoppedError("after step 3")

    with pytest.raises(SystemExit) as ended:
        run_command(stop)
    assert ended.value.code == ExitCode.STOPPED == 75
    assert capsys.readouterr().err == "stopped: after step 3\n"


def test_what_is_worth_a_restart_is_what_another_start_can_mend() -> None:
    assert [code.value for code in ExitCode if code.is_worth_a_restart] == [75, 76, 77, 78]


def _wait_for_steps(output: Path, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        if (output / "metrics.jsonl").exists() and len(metrics(output)) >= count:
            return
        time.sleep(0.01)
    raise AssertionError("the run did not come so far")


def _wait_for_lines(caplog: pytest.LogCaptureFixture, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(caplog.messages) < count and time.monotonic() < deadline:
        time.sleep(0.01)
