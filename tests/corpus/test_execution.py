from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.corpus.execution import executor
from megatron_codex.errors import InputError, WorkError


def write(task: Path) -> None:
    task.write_text(str(os.getpid()))


def is_done(task: Path) -> bool:
    return task.exists()


def run_all(folder: Path, function: object, tasks: list[Path], workers: int) -> None:
    with executor(ExecutionConfig(workers=workers), folder=folder) as run:
        assert run is not None
        run(function, tasks, done=is_done, description="test")  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once(tmp_path: Path, workers: int) -> None:
    tasks = [tmp_path / f"{number}" for number in range(7)]
    tasks[2].write_text("before")
    run_all(tmp_path, write, tasks, workers)
    assert tasks[2].read_text() == "before"
    processes = {task.read_text() for task in tasks if task != tasks[2]}
    assert (str(os.getpid()) in processes) == (workers == 1)
    assert len(processes) <= workers


def die_at_first(times: int, task: Path) -> None:
    """Kill the process that does it, for the first `times` tries of each task."""
    tries = task.with_suffix(".tries")
    with tries.open("a") as handle:
        handle.write("x")
    if len(tries.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    write(task)


def test_a_killed_worker_costs_the_task_it_was_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tasks = [tmp_path / f"{number}" for number in range(5)]
    run_all(tmp_path, partial(die_at_first, 2), tasks, 2)
    assert all(task.with_suffix(".tries").read_text() == "xxx" for task in tasks)
    assert "a worker process ended by signal 9; its task is tried again" in caplog.text


def test_a_task_that_kills_every_worker_ends_the_run_with_its_name(tmp_path: Path) -> None:
    tasks = [tmp_path / f"{number}" for number in range(2)]
    with pytest.raises(WorkError, match=r"/[01]: 10 worker processes died of it, the last one by signal 9"):
        run_all(tmp_path, partial(die_at_first, 99), tasks, 2)


def refuse(task: Path) -> None:
    raise InputError(str(task), rule="is refused", remedy="give another")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match="is refused; give another"):
        run_all(tmp_path, refuse, [tmp_path / "a", tmp_path / "b"], workers)


def leave_nothing(task: Path) -> None:
    pass


def test_a_task_without_a_result_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="test: 2 tasks left no result"):
        run_all(tmp_path, leave_nothing, [tmp_path / "a", tmp_path / "b"], 1)


def sleep_long(task: Path) -> None:
    write(task)
    time.sleep(60)


def test_workers_end_with_the_parent(tmp_path: Path) -> None:
    code = (
        "import json, sys\nfrom pathlib import Path\n"
        f"sys.path[:0] = {json.dumps([str(Path(__file__).parent)])}\n"
        "import test_execution as t\n"
        "t.run_all(Path(sys.argv[1]), t.sleep_long, [Path(sys.argv[1]) / 'a', Path(sys.argv[1]) / 'b'], 2)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    pids = [int(_text_of(tmp_path / name)) for name in "ab"]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state not in "ZX"


def _text_of(path: Path) -> str:
    for _ in range(600):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path} was not written")


def test_settings_are_checked_together() -> None:
    with pytest.raises(ValueError, match=r"workers(.|\n)*slurm_minutes"):
        ExecutionConfig(workers=0, slurm_minutes=0)


# Other machines.

TASKS = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_execution as t
from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.corpus.execution import executor
folder = Path(sys.argv[1])
with executor(ExecutionConfig(executor="mpi"), folder=folder) as run:
    if run is not None:
        run(getattr(t, sys.argv[2]), [folder / str(number) for number in range(6)], done=t.is_done, description="test")
        print("the first rank is done")
"""


def run_under_mpi(tmp_path: Path, function: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(TASKS.format(tests=str(Path(__file__).parent)))
    as_root = {f"{name}_ALLOW_RUN_AS_ROOT{confirm}": "1" for name in ("OMPI", "PRTE") for confirm in ("", "_CONFIRM")}
    mpirun = [str(Path(sys.executable).with_name("mpirun")), "--oversubscribe", "-n", "3", sys.executable]
    (tmp_path / "out").mkdir()
    return subprocess.run(
        [*mpirun, str(tmp_path / "script.py"), str(tmp_path / "out"), function],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **as_root},
    )


@pytest.mark.slow
def test_mpi_ranks_work_for_the_first_one(tmp_path: Path) -> None:
    done = run_under_mpi(tmp_path, "write")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the first rank is done") == 1
    processes = {(tmp_path / "out" / str(number)).read_text() for number in range(6)}
    assert 1 <= len(processes) <= 2  # the other two ranks


@pytest.mark.slow
def test_what_a_task_raises_on_an_mpi_rank_ends_the_run(tmp_path: Path) -> None:
    done = run_under_mpi(tmp_path, "refuse")
    assert done.returncode != 0
    assert "is refused; give another" in done.stderr
