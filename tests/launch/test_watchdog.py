"""A rank that no longer moves is named, with where the others wait, and all end; a run that moves is left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.exit_codes import ExitCode
from megatron_codex.heartbeat import (
    STACKS_SIGNAL,
    Heartbeat,
    heartbeat_path,
    process_started,
    read_heartbeats,
    write_heartbeat,
)
from megatron_codex.launch.hang_report import Hang, Seen
from megatron_codex.launch.watchdog import HangError, Watchdog
from tests.parallel.jobs import base_job, metrics, write_data
from tests.parallel.ranks import ROOT, TIMEOUT_S, end, start_ranks, train_jobs


def _beat(rank: int, collective: str | None = "allreduce", *, step: int = 7, **others: object) -> Heartbeat:
    values: dict[str, object] = {
        "rank": rank,
        "world_size": 4,
        "node": f"node{rank // 2}",
        "pid": 1,
        "process_started": "1",
        "attempt": "8-0",
        "step": step,
        "phase": "step",
        "collective": collective,
        "ranks": "0,1,2,3" if collective else None,
        "counts": {"0,1,2,3": 5},
        "hang_timeout_s": 60.0,
        "start_timeout_s": 90.0,
    }
    return Heartbeat(**(values | others))  # type: ignore[arg-type]


def _hang(*beats: Heartbeat, **states: str) -> Hang:
    seen = {int(name[1:]): Seen(state=state, wchan="", stacks="") for name, state in states.items()}
    return Hang(beats={beat.rank: beat for beat in beats}, seen=seen)


@pytest.mark.parametrize(
    ("hang", "behind"),
    [
        pytest.param(_hang(_beat(0), _beat(1, None), _beat(2), _beat(3)), [1], id="computes"),
        pytest.param(_hang(_beat(0), _beat(1), _beat(2), _beat(3), r0="S", r2="T"), [2], id="stopped"),
        pytest.param(_hang(_beat(0), _beat(1, None), _beat(2), _beat(3), r0="S", r3="X"), [3], id="dead"),
        pytest.param(_hang(_beat(0), _beat(2), _beat(3)), [1], id="never_started"),
        pytest.param(_hang(_beat(0), _beat(1), _beat(2), _beat(3, counts={"0,1,2,3": 4})), [3], id="one_call_behind"),
        pytest.param(
            _hang(
                *(_beat(rank, counts={"0,1": 9}, ranks="0,1") for rank in (0, 1)),
                *(_beat(rank, counts={"2,3": 3 + rank % 2}, ranks="2,3") for rank in (2, 3)),
            ),
            [2],
            id="counts_are_compared_within_a_group",
        ),
        pytest.param(_hang(_beat(0), _beat(1), _beat(2, step=6), _beat(3)), [2], id="an_earlier_step"),
    ],
)
def test_the_rank_that_others_wait_for_is_behind(hang: Hang, behind: list[int]) -> None:
    assert hang.behind() == behind


def test_the_line_names_the_rank_and_the_collective() -> None:
    line = _hang(_beat(0), _beat(1), _beat(2, None), _beat(3), r2="T").line()
    assert line == (
        "behind: rank 2 (node1) is stopped (state T: SIGSTOP, or a suspended job) in step 7; "
        "waiting: ranks 0, 1, 3 in allreduce of ranks 0,1,2,3 (step 7)"
    )


def test_heartbeats_are_read_back_and_those_of_another_attempt_or_half_written_are_not(tmp_path: Path) -> None:
    for beat in (_beat(0), _beat(1, attempt="8-1"), _beat(2)):
        path = heartbeat_path(tmp_path, beat.rank)
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as handle:
            write_heartbeat(handle.fileno(), _beat(beat.rank, step=123456))  # a longer line before
            write_heartbeat(handle.fileno(), beat)
    heartbeat_path(tmp_path, 2).write_text(heartbeat_path(tmp_path, 2).read_text()[:100])
    assert read_heartbeats(tmp_path, attempt="8-0") == {0: _beat(0)}


@pytest.mark.multirank
def test_a_stopped_rank_is_named_with_stacks_and_all_end_and_a_moving_run_is_left_alone(tmp_path: Path) -> None:
    write_data(tmp_path)
    output = tmp_path / "run"
    limits = {"hang_timeout_s": 6.0, "start_timeout_s": float(TIMEOUT_S)}
    training = {"output_dir": str(output), "train_iters": 100_000, "eval_interval": 0} | limits
    (tmp_path / "jobs.json").write_text(json.dumps([base_job(tmp_path, training=training)]))
    command = [sys.executable, "-m", "megatron_codex.launch.watchdog", str(output), "--poll-s", "0.2"]
    watchdog = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    ranks = start_ranks(2, train_jobs, tmp_path)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and not (output.exists() and _num_steps(output) >= 20):
            assert watchdog.poll() is None
            time.sleep(0.05)
        pid = ranks[1].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        _, error = watchdog.communicate(timeout=TIMEOUT_S)
        for process in ranks:
            process.join(TIMEOUT_S)
    finally:
        end(ranks)
        watchdog.kill()
        watchdog.wait()
    assert watchdog.returncode == ExitCode.HANG
    assert [process.exitcode for process in ranks] == [ExitCode.HANG, -signal.SIGKILL]
    assert error.startswith("error: the ranks hang; behind: rank 1 (") and "state T" in error and error.count("\n") == 1
    assert "waiting: rank 0 in " in error and "of ranks 0,1" in error
    report = (output / "launch" / "hangs" / "local.txt").read_text()
    assert "Stacks of rank 1:\nnone" in report and "Stacks of rank 0:" in report
    assert "take_step" in report[report.index("Stacks of rank 0:") :]


def _num_steps(output: Path) -> int:
    return len(metrics(output)) if (output / "metrics.jsonl").exists() else 0


def test_a_watchdog_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'megatron_codex.launch.watchdog', "
        f"{str(tmp_path)!r}, '--poll-s', '0.05']); print(p.pid); import time; time.sleep(1)"
    )
    started = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    deadline = time.monotonic() + 60
    while Path(f"/proc/{started.stdout.strip()}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{started.stdout.strip()}").exists()


def test_a_watchdog_whose_starter_is_gone_before_it_looks_ends(tmp_path: Path) -> None:
    """A rank that ends at once: its watchdog, still being started, is given to init, which never ends."""
    watchdog = f"{sys.executable} -m megatron_codex.launch.watchdog '{tmp_path}' --poll-s 0.05"
    started = subprocess.run(
        ["bash", "-c", f"(sleep 0.5 && exec {watchdog} --parent $$) >/dev/null 2>&1 & echo $!"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    process = Path(f"/proc/{started.stdout.strip()}")
    deadline = time.monotonic() + 60
    while process.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not process.exists()


def test_a_hang_is_reported_though_the_heartbeats_directory_was_removed(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        beat = _beat(0, pid=sleeper.pid, process_started=process_started(sleeper.pid), world_size=1, node="node0")
        beat = replace(beat, hang_timeout_s=0.5)
        path = heartbeat_path(tmp_path, 0)
        path.parent.mkdir()
        with path.open("wb") as handle:
            write_heartbeat(handle.fileno(), beat)
        watchdog = Watchdog(run_dir=tmp_path, attempt="8-0", node="node0", poll_s=0.05)
        remover = threading.Timer(0.2, lambda: shutil.rmtree(path.parent))
        remover.start()
        with pytest.raises(HangError, match="behind: rank 0"):
            watchdog.watch()
        remover.join()
        assert sleeper.wait(timeout=30) == -STACKS_SIGNAL  # a rank's handler would have written its stacks
    finally:
        sleeper.kill()
        sleeper.wait()
