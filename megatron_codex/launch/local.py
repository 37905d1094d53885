"""A launch on this machine, without SLURM: the same values, the same commands, one after the other.

In: Work, and who starts ranks that meet (parallel/local_ranks.py; this room does not import torch). Out: what the
command writes; RUN/launch/NAME.history and NAME.done as a job leaves them. A training has a watchdog beside it. Ranks
that hang or are lost end the launch, which names them, or are started again as often as restarts.max_requeues says.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from megatron_codex.children import Ended, run_together
from megatron_codex.config.launch import LaunchConfig
from megatron_codex.config.load import save_config
from megatron_codex.errors import InputError
from megatron_codex.exit_codes import ExitCode
from megatron_codex.heartbeat import verdict_path
from megatron_codex.launch.commands import CHECKOUT, command_arguments, has_watchdog, python_of, require_command
from megatron_codex.launch.environment import num_threads
from megatron_codex.launch.launchers import launcher_command
from megatron_codex.launch.one_at_a_time import running_here
from megatron_codex.launch.submit import require_not_in_queue
from megatron_codex.launch.watchdog import HANGS
from megatron_codex.launch.work import Work

RunRanks = Callable[[int, Sequence[str]], Ended]
"""(number of ranks, command) -> how they ended."""

_WATCHDOG_ENDS_S = 60.0
"""Time that the watchdog has to see ranks end after its verdict; it takes less than ten seconds."""


def run_here(work: Work, run_ranks: RunRanks) -> int:
    """Do the tasks that are left, in order, up to the first that fails; its exit code, or 0.

    Raises: InputError when the same is run here or is in SLURM's queue already, or when there is no such Python.
    """
    if shutil.which(python_of(work.config)) is None:
        rule = "is no program on this machine"
        raise InputError("python", value=work.config.python, rule=rule, remedy="give its path, or leave it out")
    require_not_in_queue(work)
    with running_here(work):
        save_config(work.config, work.file("yaml"))
        _set_environment(work.config)
        left = work.tasks_left()
        if not left:
            print(f"== {work.config.job_name}: done before", file=sys.stderr)
        for task in left:
            if code := _run_task(work, task, run_ranks):
                return code
        return 0


def commands_here(work: Work) -> list[str]:
    """What run_here would start, a line each, for people and for bash."""
    return [
        f"{shlex.join(_command(work.config, task))}  # {_num_ranks(work.config)} processes"
        for task in work.tasks_left()
    ]


def _command(config: LaunchConfig, task: int) -> list[str]:
    share = f"{task}/{config.array.tasks}" if config.array.tasks > 1 else None
    return [python_of(config), f"tools/{config.command}.py", *command_arguments(config, share=share)]


def _num_ranks(config: LaunchConfig) -> int:
    return config.resources.num_tasks if require_command(config.command).ranks == "joined" else 1


def _run_task(work: Work, task: int, run_ranks: RunRanks) -> int:
    config, restarts = work.config, 0
    command = _command(config, task)
    started_at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    while True:
        _tell(work, task, restarts, "started", f"on this machine, by process {os.getpid()}")
        try:
            ended = _attempt(config, command, run_ranks, attempt=f"local-{started_at}-{restarts}")
        except KeyboardInterrupt:
            _tell(work, task, restarts, "stopped", "Ctrl-C")
            raise
        if ended.code == 0:
            work.mark_done(task)
            _tell(work, task, restarts, "done", "")
            return 0
        if ended.told or ended.code == ExitCode.STOPPED:
            _tell(work, task, restarts, "stopped", ended.how)
            return ended.code
        if not (_is_worth_a_restart(ended.code) and restarts < config.restarts.here):
            _fail(work, task, restarts, ended)
            return ended.code
        _tell(work, task, restarts, "restarting", ended.how)
        restarts += 1


def _is_worth_a_restart(code: int) -> bool:
    """Whether ranks that ended with this code would go on: as a job's script decides, but for Ctrl-C."""
    return (code > 128 and code != ExitCode.INTERRUPTED) or (
        code in set(ExitCode) and ExitCode(code).is_worth_a_restart
    )


def _attempt(config: LaunchConfig, command: Sequence[str], run_ranks: RunRanks, *, attempt: str) -> Ended:
    """Start the ranks once. attempt: tells this start's signs of life from those of another one."""
    os.environ["MCX_ATTEMPT"] = attempt
    with _watchdog(config) as watchdog:
        ended = _run(config, command, run_ranks)
        if watchdog is None or not verdict_path(config.run_dir, attempt).exists():
            return ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            watchdog.wait(_WATCHDOG_ENDS_S)
        report = config.run_dir / HANGS / f"{attempt}.txt"
        return Ended(code=ExitCode.HANG, how=f"hang; report: {report}", told=ended.told)


@contextmanager
def _watchdog(config: LaunchConfig) -> Iterator[subprocess.Popen[bytes] | None]:
    """Beside the ranks of a training: names the one that hangs, and ends them."""
    if not has_watchdog(config):
        yield None
        return
    watchdog = [python_of(config), "-m", "megatron_codex.launch.watchdog", str(config.run_dir)]
    with subprocess.Popen(watchdog) as process:
        try:
            yield process
        finally:
            process.kill()  # it passes SIGTERM over, which a job sends to all of its processes


def _run(config: LaunchConfig, command: Sequence[str], run_ranks: RunRanks) -> Ended:
    num_ranks = _num_ranks(config)
    launched = launcher_command(config, command) if num_ranks > 1 else None
    if num_ranks > 1 and launched is None:
        return run_ranks(num_ranks, command)
    name = config.command if launched is None else config.launcher
    return run_together(launched or command, environments=[os.environ], name=name)


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


def _tell(work: Work, task: int, restarts: int, event: str, detail: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with work.file("history").open("a", encoding="utf-8") as handle:
        handle.write("\t".join([now, "local", str(task), str(restarts), event, detail]) + "\n")
    print(f"== {work.config.job_name}: {event} {detail}".rstrip(), file=sys.stderr)


def _fail(work: Work, task: int, restarts: int, ended: Ended) -> None:
    settings, reason = work.config.restarts, ended.how
    if _is_worth_a_restart(ended.code):
        again = f"it was started again {restarts} times, which is the most" if restarts else "not started again"
        reason += f"; {again} (restarts.max_requeues={settings.here})"
    _tell(work, task, restarts, "failed", reason)
    if settings.on_failure is None:
        return
    facts = {
        "MCX_JOB_ID": "local",
        "MCX_NAME": work.config.job_name,
        "MCX_RUN_DIR": str(work.config.run_dir),
        "MCX_EXIT_CODE": str(ended.code),
        "MCX_REASON": reason,
        "MCX_RESTARTS": str(restarts),
        "MCX_LOG": "",
    }
    limit = str(settings.on_failure_timeout_s)
    hook = ["timeout", "--signal=KILL", limit, "bash", "-c", settings.on_failure]
    code = subprocess.run(hook, env=os.environ | facts, stdin=subprocess.DEVNULL, check=False).returncode
    if code:  # at its limit `timeout` kills its whole group, itself too
        said = f"on_failure ended with exit code {code if code > 0 else 128 - code}"
        print(f"== {said}; its limit is {limit} s", file=sys.stderr)
