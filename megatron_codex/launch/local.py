"""A launch on this machine, without SLURM: the same values, the same commands, one after the other.

In: Work, and who starts ranks that meet (parallel/local_ranks.py; this room does not import torch). Out: what the
command writes; RUN/launch/NAME.history and NAME.done as a job leaves them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.config.load import save_config
from megatron_codex.errors import InputError
from megatron_codex.exit_codes import ExitCode
from megatron_codex.launch.commands import CHECKOUT, command_arguments, python_of, require_command
from megatron_codex.launch.environment import num_threads
from megatron_codex.launch.work import Work

RunRanks = Callable[[int, Sequence[str]], int]
"""(number of ranks, command) -> exit code."""

_MPI_RANK = (
    "export RANK=$OMPI_COMM_WORLD_RANK LOCAL_RANK=$OMPI_COMM_WORLD_LOCAL_RANK WORLD_SIZE=$OMPI_COMM_WORLD_SIZE; "
    'exec "$@"'
)
_HERE = "127.0.0.1"
_FAILURE_COMMAND_S = 60


def run_here(work: Work, run_ranks: RunRanks) -> int:
    """Do the tasks that are left, in order, up to the first that fails; its exit code, or 0."""
    config = work.config
    work.folder.mkdir(parents=True, exist_ok=True)
    save_config(config, work.file("yaml"))
    _set_environment(config)
    for task in work.tasks_left():
        _tell(work, task, "started", "on this machine")
        share = f"{task}/{config.array.tasks}" if config.array.tasks > 1 else None
        command = [python_of(config), f"tools/{config.command}.py", *command_arguments(config, share=share)]
        with _watchdog(config):
            code = _run(config, command, run_ranks)
        if code:
            reason = f"exit code {code}"
            _tell(work, task, "stopped" if code == ExitCode.STOPPED else "failed", reason)
            if code != ExitCode.STOPPED:
                _on_failure(work, code, reason)
            return code
        work.mark_done(task)
        _tell(work, task, "done", "")
    return 0


def launcher_command(config: LaunchConfig, command: Sequence[str]) -> list[str] | None:
    """The command under another launcher of this machine; None where the ranks are started without one.

    Raises: InputError when the launcher is not installed.
    """
    if config.launcher in ("srun", "local"):
        return None
    if shutil.which(config.launcher) is None:
        remedy = f"pip install 'megatron-codex[{'mpi' if config.launcher == 'mpirun' else 'deepspeed'}]'"
        raise InputError("launcher", value=config.launcher, rule="is not on the PATH", remedy=remedy)
    count, port = str(config.resources.num_tasks), str(_free_port())
    if config.launcher == "mpirun":
        meeting = ["-x", f"MASTER_ADDR={_HERE}", "-x", f"MASTER_PORT={port}"]
        return ["mpirun", "-n", count, "--oversubscribe", *meeting, "bash", "-c", _MPI_RANK, "rank", *command]
    _, program, *arguments = command  # its launcher puts a Python of its own in front
    return ["deepspeed", "--num_gpus", count, "--master_port", port, "--no_local_rank", program, *arguments]


def _free_port() -> int:
    """Of this moment: the first rank takes it a second later."""
    with socket.socket() as probe:
        probe.bind((_HERE, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _watchdog(config: LaunchConfig) -> Iterator[None]:
    """Beside the ranks of a training: names the one that hangs, and ends them."""
    if config.command != "train":
        yield
        return
    watchdog = [python_of(config), "-m", "megatron_codex.launch.watchdog", str(config.run_dir)]
    with subprocess.Popen(watchdog) as process:
        try:
            yield
        finally:
            process.kill()  # it passes SIGTERM over, which a job sends to all of its processes


def _run(config: LaunchConfig, command: Sequence[str], run_ranks: RunRanks) -> int:
    joined = require_command(config.command).ranks == "joined"
    if not joined or config.resources.num_tasks == 1:
        return subprocess.run(command, check=False).returncode
    launched = launcher_command(config, command)
    if launched is None:
        return run_ranks(config.resources.num_tasks, command)
    return subprocess.run(launched, check=False).returncode


def _set_environment(config: LaunchConfig) -> None:
    """This process's own, which its children take over."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    os.chdir(config.project_dir if config.project_dir and config.project_dir.is_dir() else CHECKOUT)
    os.environ |= {
        "OMP_NUM_THREADS": str(num_threads(config)),
        "PYTHONPATH": str(CHECKOUT),
        "MCX_RUN_DIR": str(config.run_dir),
    }
    for setting in config.environment:
        name, _, value = setting.partition("=")
        os.environ[name] = value


def _tell(work: Work, task: int, event: str, detail: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with work.file("history").open("a", encoding="utf-8") as handle:
        handle.write("\t".join([now, "local", str(task), "0", event, detail]) + "\n")
    print(f"== {work.config.job_name}: {event} {detail}".rstrip(), file=sys.stderr)


def _on_failure(work: Work, code: int, reason: str) -> None:
    command = work.config.restarts.on_failure
    if command is None:
        return
    facts = {
        "MCX_JOB_ID": "local",
        "MCX_NAME": work.config.job_name,
        "MCX_RUN_DIR": str(work.config.run_dir),
        "MCX_EXIT_CODE": str(code),
        "MCX_REASON": reason,
        "MCX_RESTARTS": "0",
        "MCX_LOG": "",
    }
    ended = subprocess.run(
        ["timeout", str(_FAILURE_COMMAND_S), "bash", "-c", command], env=os.environ | facts, check=False
    )
    if ended.returncode:
        print(f"== on_failure ended with exit code {ended.returncode}", file=sys.stderr)
