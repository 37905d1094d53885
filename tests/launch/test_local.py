"""launch.py local: how ranks ended is told, and decides what follows; one launch at a time; a hang is found."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.children import Ended, run_together
from megatron_codex.config.launch import LaunchConfig, ResourcesConfig, RestartsConfig, StatusConfig
from megatron_codex.errors import InputError
from megatron_codex.exit_codes import ExitCode
from megatron_codex.heartbeat import Heartbeat, heartbeat_path
from megatron_codex.launch.local import run_here
from megatron_codex.launch.one_at_a_time import running_here
from megatron_codex.launch.queue import QueuedTask
from megatron_codex.launch.status import run_status
from megatron_codex.launch.submit import checked_work, submit
from tests.parallel.jobs import base_job, write_data
from tests.parallel.ranks import ROOT, TIMEOUT_S

ARGUMENTS = (
    *("model.num_layers=1", "model.hidden_size=8", "model.num_attention_heads=1", "model.seq_length=8"),
    *("optimizer.lr=1e-3", "training.train_iters=10", "training.global_batch_size=2", "data.data_prefix=x"),
)
FACTS = 'env | grep ^MCX_ | sort >"$MCX_RUN_DIR/facts"'


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A launch sets its own directory and environment."""
    monkeypatch.chdir(ROOT)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def launch(tmp_path: Path, rank: str, **values: object) -> LaunchConfig:
    """Training whose ranks are a few lines of bash; $RUN is the run's directory."""
    program = tmp_path / "rank"
    program.write_text(f'#!/bin/bash\n[ "$1" != -m ] || exit 0\nRUN=$MCX_RUN_DIR\necho >>"$RUN/starts"\n{rank}\n')
    program.chmod(0o755)
    given = {"command": "train", "run_dir": tmp_path / "run", "python": str(program), "arguments": ARGUMENTS}
    return LaunchConfig(**(given | {"resources": ResourcesConfig(tasks_per_node=2)} | values))  # type: ignore[arg-type]


def ranks(num_ranks: int, command: Sequence[str]) -> Ended:
    """As parallel/local_ranks.py, whose import takes seconds."""
    each = [{**os.environ, "RANK": str(rank)} for rank in range(num_ranks)]
    return run_together(command, environments=each, name="rank")


def events(config: LaunchConfig) -> list[list[str]]:
    """[restarts, event, detail] of the history."""
    lines = (config.run_dir / "launch" / f"{config.job_name}.history").read_text().splitlines()
    return [line.split("\t")[3:] for line in lines]


def test_a_killed_rank_is_named_the_others_end_and_the_hook_is_told(tmp_path: Path) -> None:
    config = launch(tmp_path, "[ $RANK = 1 ] && kill -9 $$; exec sleep 300", restarts=RestartsConfig(on_failure=FACTS))
    began = time.monotonic()
    assert run_here(checked_work(config), ranks) == 137
    assert time.monotonic() - began < 60  # not the other rank's 300
    (_, _, _), (_, event, detail) = events(config)
    assert event == "failed"
    assert detail.startswith("rank 1 of 2 was ended by SIGKILL; the other ranks were ended too")
    assert detail.endswith("not started again (restarts.max_requeues=0)")
    facts = dict(line.split("=", 1) for line in (config.run_dir / "facts").read_text().splitlines())
    assert (facts["MCX_EXIT_CODE"], facts["MCX_REASON"], facts["MCX_RESTARTS"]) == ("137", detail, "0")


def test_lost_ranks_start_again_as_often_as_is_asked(tmp_path: Path) -> None:
    config = launch(
        tmp_path,
        '[ $RANK = 0 ] || exit 0; [ "$(wc -l <"$RUN/starts")" -gt 4 ] || kill -9 $$',
        restarts=RestartsConfig(max_requeues=2),
    )
    assert run_here(checked_work(config), ranks) == 0
    assert [line[:2] for line in events(config)] == [
        *(["0", "started"], ["0", "restarting"], ["1", "started"], ["1", "restarting"], ["2", "started"], ["2", "done"])
    ]
    less = launch(tmp_path, "kill -SEGV $$", run_dir=tmp_path / "less", restarts=RestartsConfig(max_requeues=1))
    assert run_here(checked_work(less), ranks) == 139
    assert [line[1] for line in events(less)] == ["started", "restarting", "started", "failed"]
    assert "it was started again 1 times, which is the most" in events(less)[-1][2]


@pytest.mark.parametrize(
    ("end", "code", "event", "starts"),
    [
        ("exit 1", 1, "failed", 1),
        ("exit 2", 2, "failed", 1),
        ("exit 75", 75, "stopped", 1),
        ("exit 77", 77, "failed", 2),
        ("exit 78", 78, "failed", 2),
        ("kill -INT $$", 130, "failed", 1),
    ],
)
def test_only_what_another_start_can_mend_is_started_again(
    tmp_path: Path, end: str, code: int, event: str, starts: int
) -> None:
    one = ResourcesConfig()
    config = launch(
        tmp_path, end, resources=one, restarts=RestartsConfig(max_requeues=1, on_failure="touch $MCX_RUN_DIR/told")
    )
    assert run_here(checked_work(config), ranks) == code
    assert len((config.run_dir / "starts").read_text().splitlines()) == starts
    assert events(config)[-1][1] == event
    assert (config.run_dir / "told").exists() == (event == "failed")


@pytest.mark.parametrize(("hook", "code"), [("trap '' TERM; sleep 300", 137), ("exit 3", 3)])
def test_a_hook_that_hangs_or_fails_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], hook: str, code: int
) -> None:
    restarts = RestartsConfig(on_failure=hook, on_failure_timeout_s=1)
    config = launch(tmp_path, "exit 1", resources=ResourcesConfig(), restarts=restarts)
    assert run_here(checked_work(config), ranks) == 1
    assert f"on_failure ended with exit code {code}" in capfd.readouterr().err


@contextmanager
def launched(tmp_path: Path, rank: str) -> Iterator[tuple[LaunchConfig, subprocess.Popen[str]]]:
    """The command in a session of its own, once its rank is up (it touches $RUN/up)."""
    config = launch(tmp_path, rank)
    values = {"command": "train", "run_dir": str(config.run_dir), "python": config.python, "arguments": list(ARGUMENTS)}
    (tmp_path / "run.yaml").write_text(json.dumps(values))
    command = [sys.executable, ROOT / "tools/launch.py", "local", "--config", tmp_path / "run.yaml"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (config.run_dir / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield config, process
    finally:
        process.kill()
        process.communicate()


def test_a_signal_to_the_launcher_is_the_ranks_and_two_launches_do_not_meet(tmp_path: Path) -> None:
    rank = "trap 'exit 75' USR1; touch $RUN/up; for i in $(seq 1200); do sleep 0.05; done"
    with launched(tmp_path, rank) as (config, first):
        (row,) = run_status(StatusConfig(run=config.run_dir))
        assert row.state == "running" and row.detail.endswith(f"process {first.pid}")
        with pytest.raises(InputError, match=rf"is being run by `launch.py local` .*process {first.pid}"):
            run_here(checked_work(config), ranks)
        os.kill(first.pid, signal.SIGUSR1)
        _, error = first.communicate(timeout=60)
    assert first.returncode == ExitCode.STOPPED, error
    (row,) = run_status(StatusConfig(run=config.run_dir))
    assert (row.state, row.detail) == ("stopped", "train ended with exit code 75")


def test_ctrl_c_ends_the_ranks_and_is_no_failure(tmp_path: Path) -> None:
    with launched(tmp_path, "trap '' INT; echo $$ >$RUN/pid; touch $RUN/up; exec sleep 60") as (config, process):
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED, error
    assert "Traceback" not in error
    assert events(config)[-1] == ["0", "stopped", "Ctrl-C"]
    assert not Path("/proc", (config.run_dir / "pid").read_text().strip()).exists()


def test_a_run_is_not_begun_here_while_a_job_of_it_waits_nor_submitted_while_it_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = checked_work(launch(tmp_path, "exit 0"))
    with running_here(work), pytest.raises(InputError, match=f"is being run by .*process {os.getpid()}"):
        submit(work)
    waits = QueuedTask(job="101", task=0, state="PENDING", reason="Priority", nodes="", left="1:00")
    monkeypatch.setattr("megatron_codex.launch.submit.queued_tasks", lambda: [waits])
    work.file("jobs").write_text(json.dumps({"job": "101", "key": work.key}) + "\n")
    with pytest.raises(InputError, match="job 101 of run is in the queue; wait for it, or scancel 101"):
        run_here(work, ranks)
    assert not work.file("history").exists()


def test_a_python_that_is_not_there_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    config = launch(tmp_path, "", python="/no/such/python")
    with pytest.raises(InputError, match="python: got '/no/such/python'; is no program on this machine"):
        run_here(checked_work(config), ranks)
    assert not config.run_dir.exists()


def test_a_file_system_without_locks_is_said_and_launches_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flock(handle: object, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    work = checked_work(launch(tmp_path, "exit 0", resources=ResourcesConfig()))
    assert run_here(work, ranks) == 0
    assert "this file system has no locks" in caplog.text


@pytest.mark.multirank
@pytest.mark.slow
def test_a_local_run_that_hangs_is_reported_and_ended_with_the_watchdogs_code(tmp_path: Path) -> None:
    write_data(tmp_path)
    output = tmp_path / "run"
    limits = {"hang_timeout_s": 4.0, "start_timeout_s": float(TIMEOUT_S)}
    job = base_job(tmp_path, training={"train_iters": 100_000, "eval_interval": 0, "output_dir": "unused"} | limits)
    del job["training"]["output_dir"]
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    given = ["--command=train", f"--command-config={tmp_path}/job.yaml", f"--run-dir={output}"]
    command = [sys.executable, ROOT / "tools/launch.py", "local", *given, "resources.tasks_per_node=2"]
    launched = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while (beat := last_sign_of_life(output, rank=1)) is None or beat.step < 5:
            assert launched.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(beat.pid, signal.SIGSTOP)
        _, error = launched.communicate(timeout=TIMEOUT_S)
    finally:
        launched.kill()
        launched.wait()
    assert launched.returncode == ExitCode.HANG, error
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the ranks hang; behind: rank 1 (") and "state T" in line
    (report,) = (output / "launch" / "hangs").glob("local-*-0.txt")
    assert "Stacks of rank 0:" in report.read_text()
    (row,) = run_status(StatusConfig(run=output))
    assert (row.state, f"hang; report: {report}" in row.detail) == ("failed", True)


def last_sign_of_life(output: Path, *, rank: int) -> Heartbeat | None:
    try:
        return Heartbeat(**json.loads(heartbeat_path(output, rank).read_bytes()))
    except (FileNotFoundError, ValueError):
        return None


def test_no_watchdog_where_none_is_wanted(tmp_path: Path) -> None:
    program = '#!/bin/bash\n[ "$1" != -m ] || touch "$MCX_RUN_DIR/watched"\nsleep 0.5\n'
    for wanted in (True, False):
        config = launch(tmp_path, "", resources=ResourcesConfig(), run_dir=tmp_path / str(wanted))
        (tmp_path / "rank").write_text(program)
        assert run_here(checked_work(replace(config, watchdog=wanted)), ranks) == 0
        assert (config.run_dir / "watched").exists() == wanted
