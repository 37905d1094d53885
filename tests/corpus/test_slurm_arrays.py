"""Arrays of jobs: on a real SLURM of two nodes, and, where there is none, on submitit's processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.corpus import slurm_arrays
from megatron_codex.corpus.execution import executor
from megatron_codex.errors import InputError
from tests.corpus.test_execution import die_at_first, is_done, refuse, sleep_long, write
from tests.slurm_cluster import missing_programs


@pytest.fixture
def arrays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit's arrays on processes of this machine: the same calls, without a cluster."""
    import submitit

    def local(folder: Path) -> Any:
        return submitit.AutoExecutor(folder=folder, cluster="local")

    def running(jobs: Any) -> dict[str, str]:
        return {job.job_id: "None" for job in jobs if not job.done()}

    def cancel(jobs: Any) -> None:
        for job in jobs:
            job.cancel(check=False)

    monkeypatch.setattr(slurm_arrays, "_submitter", local)
    monkeypatch.setattr(slurm_arrays, "_queued", running)
    monkeypatch.setattr(slurm_arrays, "_cancel", cancel)
    monkeypatch.setattr(slurm_arrays, "_QUEUE_POLL_S", 0.5)


@pytest.fixture
def arrays_there(slurm_cluster: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays on the cluster of the tests."""
    monkeypatch.setattr(slurm_arrays, "_QUEUE_POLL_S", 0.5)


@pytest.fixture
def arrays(request: pytest.FixtureRequest) -> None:
    """Arrays on the cluster where SLURM is installed, else on this machine's processes."""
    request.getfixturevalue("arrays_here" if missing_programs() else "arrays_there")


def run_in_arrays(folder: Path, function: object, tasks: list[Path]) -> None:
    settings = ExecutionConfig(executor="slurm", workers=2, slurm_minutes=1)
    with executor(settings, folder=folder / "jobs") as run:
        assert run is not None
        run(function, tasks, done=is_done, description="test")  # type: ignore[arg-type]


def test_a_job_that_dies_leaves_its_tasks_to_the_next_round(
    tmp_path: Path, arrays: None, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [tmp_path / str(number) for number in range(2)]
    run_in_arrays(tmp_path, partial(die_at_first, 1), tasks)
    assert all(task.with_suffix(".tries").read_text() == "xx" for task in tasks)
    assert "round 1 of 10: 2 tasks left (job " in caplog.text
    assert "left the queue without a result, its log is" in caplog.text


def test_what_a_task_raises_in_a_job_is_raised_here(tmp_path: Path, arrays: None) -> None:
    with pytest.raises(InputError, match="is refused; give another"):
        run_in_arrays(tmp_path, refuse, [tmp_path / "a", tmp_path / "b"])


def warned_of_the_end(task: Path) -> None:
    """As a job is, some time before its limit: submitit asks for USR2, and would raise an error at this place."""
    for warning in (signal.SIGUSR2, signal.SIGUSR1):
        os.kill(os.getpid(), warning)
        time.sleep(0.1)
    write(task)


def test_a_job_that_is_warned_of_its_time_limit_works_on(
    tmp_path: Path, arrays: None, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [tmp_path / str(number) for number in range(2)]
    run_in_arrays(tmp_path, warned_of_the_end, tasks)
    assert all(map(is_done, tasks))
    assert "tasks left" not in caplog.text


def queue(*arguments: str) -> list[str]:
    asked = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", *arguments]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()


def node_of(task: Path) -> None:
    write(task)
    task.write_text(f"{os.environ['SLURMD_NODENAME']} {os.environ['SLURM_ARRAY_JOB_ID']}")


@pytest.mark.slurm
def test_a_real_array_does_every_task(tmp_path: Path, arrays_there: None) -> None:
    tasks = [tmp_path / str(number) for number in range(5)]
    run_in_arrays(tmp_path, node_of, tasks)
    assert len({task.read_text().split()[1] for task in tasks}) == 1


@pytest.mark.slurm
def test_an_array_ends_with_the_run_that_waits_for_it(
    tmp_path: Path, arrays_there: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work: list[str] = []

    asked = slurm_arrays._queued

    def interrupted(jobs: Any) -> dict[str, str] | None:
        if not at_work and (tmp_path / "a").exists():
            at_work.extend(queue("--format=%i"))
            raise KeyboardInterrupt
        return asked(jobs)

    monkeypatch.setattr(slurm_arrays, "_queued", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_in_arrays(tmp_path, sleep_long, [tmp_path / "a", tmp_path / "b"])
    assert len(at_work) == 2
    assert not set(at_work) & set(queue("--format=%i"))


@pytest.mark.slurm
def test_what_jobs_wait_for_is_said(
    tmp_path: Path, arrays_there: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = slurm_arrays._queued

    def impatient(jobs: Any) -> dict[str, str] | None:
        if "PartitionTimeLimit" in caplog.text:
            monkeypatch.setattr(slurm_arrays, "_queued", asked)
            raise KeyboardInterrupt
        return asked(jobs)

    settings = ExecutionConfig(executor="slurm", workers=2, slurm_minutes=5, slurm_partition="short")
    monkeypatch.setattr(slurm_arrays, "_queued", impatient)
    with pytest.raises(KeyboardInterrupt), executor(settings, folder=tmp_path / "jobs") as run:
        assert run is not None
        run(write, [tmp_path / "a", tmp_path / "b"], done=is_done, description="test")
    assert "jobs wait in the queue for this reason: PartitionTimeLimit" in caplog.text


@pytest.mark.slurm
def test_a_controller_that_does_not_answer_is_waited_for(
    tmp_path: Path, arrays_there: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = subprocess.run
    failures = []

    def down(command: list[str], **options: Any) -> Any:
        if command[0] == "squeue" and len(failures) < 3:
            failures.append(command)
            raise subprocess.CalledProcessError(1, command)
        return asked(command, **options)

    monkeypatch.setattr(subprocess, "run", down)
    tasks = [tmp_path / str(number) for number in range(2)]
    run_in_arrays(tmp_path, node_of, tasks)
    assert "squeue did not answer" in caplog.text
    assert "tasks left" not in caplog.text


def test_a_missing_submitit_is_named() -> None:
    code = (
        "import sys; sys.modules['submitit'] = None\n"
        "from pathlib import Path\n"
        "from megatron_codex.config.execution import ExecutionConfig\n"
        "from megatron_codex.corpus.execution import executor\n"
        "with executor(ExecutionConfig(executor='slurm'), folder=Path('x')): pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "executor: got 'slurm'; needs submitit; pip install 'megatron-codex[slurm]'" in done.stderr
