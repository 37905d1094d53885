"""A launch put into the queue, once: what is done, waits or runs already is not put in again.

In: a LaunchConfig. Out: RUN/launch/NAME.sbatch and NAME.yaml, a job, and a line of NAME.jobs for it.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.config.load import save_config
from megatron_codex.errors import InputError, raise_faults
from megatron_codex.files import atomic_file
from megatron_codex.launch.commands import project_of
from megatron_codex.launch.one_at_a_time import require_not_running_here, take_lock
from megatron_codex.launch.queue import QueuedTask, queued_tasks, submit_script
from megatron_codex.launch.rules import check_launch, slurm_faults
from megatron_codex.launch.script import render
from megatron_codex.launch.work import Work, log_file, work_of


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What became of a launch."""

    work: Work
    job: str | None
    """Number in the queue; None: it is done."""
    is_new: bool
    """Whether this call put it in."""

    def __str__(self) -> str:
        name = self.work.config.job_name
        if self.job is None:
            return f"{name}: done before"
        if not self.is_new:
            return f"{name}: job {self.job} is in the queue already"
        log = log_file(self.work.folder, name, job=self.job, tasks=self.work.config.array.tasks)
        return f"{name}: job {self.job}, log {log}"


def submitted_work(config: LaunchConfig, *, after: Sequence[Work] = ()) -> Work:
    """A launch checked for SLURM, with absolute paths. after: what it waits for.

    Raises: InputError or ConfigError for what the command or the nodes would refuse.
    """
    raise_faults(slurm_faults(config))
    return checked_work(config, after=after)


def checked_work(config: LaunchConfig, *, after: Sequence[Work] = ()) -> Work:
    """A launch checked, with absolute paths; also for this machine."""
    values = {field.name: getattr(config, field.name) for field in fields(LaunchConfig)}  # without --dry-run
    config = LaunchConfig(**{**values, "run_dir": config.run_dir.absolute()})
    return work_of(config, check_launch(config), after=[other.key for other in after])


def submit(work: Work, *, after: Sequence[str] = ()) -> Submitted:
    """Put the work that is left into the queue. after: numbers of jobs that it waits for.

    Raises: InputError when SLURM refuses it, when another configuration of this name is in the queue, or when it is
    being run on this machine.
    """
    _require_project(work.config)
    require_not_running_here(work)
    with _locked(work.folder):
        queued = _in_queue(work)
        if queued is not None:
            return Submitted(work=work, job=queued, is_new=False)
        left = work.tasks_left()
        if not left:
            return Submitted(work=work, job=None, is_new=False)
        for task in left:
            (work.done_folder / str(task)).unlink(missing_ok=True)
        script = render(work.config, work_key=work.key)
        tasks = work.config.array.tasks
        some = _ranges(left, at_a_time=work.config.array.at_a_time) if len(left) < tasks else None
        job = submit_script(script, after=after, array=some)  # before its files: what SLURM refuses leaves none
        with atomic_file(work.file("sbatch"), "w") as handle:
            handle.write(script)
        save_config(work.config, work.file("yaml"))
        line = {"job": job, "key": work.key, "tasks": left, "after": list(after), "submitted_at": int(time.time())}
        with work.file("jobs").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
        return Submitted(work=work, job=job, is_new=True)


def require_not_in_queue(work: Work) -> None:
    """Raises: InputError when a job of this run waits or runs."""
    job = _in_queue(work)
    if job is not None:
        rule = f"job {job} of {work.config.job_name} is in the queue"
        raise InputError(str(work.folder), rule=rule, remedy=f"wait for it, or scancel {job}")


def read_jobs(path: Path) -> list[dict[str, Any]]:
    """The lines of a NAME.jobs, the oldest first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _require_project(config: LaunchConfig) -> None:
    tool = project_of(config) / "tools" / f"{config.command}.py"
    if not tool.is_file():
        rule, remedy = f"{tool} is not there", "give the directory of this repository, as the nodes see it"
        raise InputError("project_dir", value=project_of(config), rule=rule, remedy=remedy)


def _in_queue(work: Work) -> str | None:
    """Number of this work's job that waits or runs."""
    jobs = {line["job"]: line["key"] for line in read_jobs(work.file("jobs"))}
    if not jobs:
        return None
    there: list[QueuedTask] = [task for task in queued_tasks() or [] if task.job in jobs]
    for task in there:
        if jobs[task.job] != work.key:
            rule = f"job {task.job} of {work.config.job_name} is in the queue, with other values"
            raise InputError(str(work.folder), rule=rule, remedy=f"wait for it, or scancel {task.job}")
    return there[0].job if there else None


def _ranges(tasks: Sequence[int], *, at_a_time: int | None) -> str:
    """Numbers of tasks in sbatch's words.

    >>> _ranges([0, 2, 3, 4], at_a_time=2)
    '0,2-4%2'
    """
    parts: list[list[int]] = []
    for task in tasks:
        if parts and task == parts[-1][-1] + 1:
            parts[-1].append(task)
        else:
            parts.append([task])
    text = ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
    return text + (f"%{at_a_time}" if at_a_time else "")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One submission at a time: the second finds the first one's job. A folder without anything in it is removed."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "lock"
    try:
        with lock.open("a") as handle:
            take_lock(handle, fcntl.LOCK_EX)
            yield
    except BaseException:
        if made:
            lock.unlink(missing_ok=True)
            for path in made:
                if not any(path.iterdir()):
                    path.rmdir()
        raise
