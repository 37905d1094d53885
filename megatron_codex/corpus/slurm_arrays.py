"""Tasks on a SLURM cluster: arrays of jobs, submitted by submitit, until every task has left its result.

In: a function, tasks, and how to see that a task is done. Out: files. The folder for the jobs' logs, and all that tasks
read and write, must lie on a file system that every node sees. Who has ended is told by squeue, not by sacct: a cluster
without accounting knows no more of a job that died than that it is not in the queue.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.errors import InputError

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_MAX_ROUNDS = 10
_RESULT_POLL_S = 1.0
_QUEUE_POLL_S = 5.0
_QUEUE_TIMEOUT_S = 60.0
_USUAL_REASONS = ("None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime")
"""Of waiting in squeue's words. Others can last: a time limit above the partition's, nodes that are down."""


class SlurmArrays:
    """Each round is one array; job k of n does tasks k, k + n, ... The next round does what is left."""

    def __init__(self, execution: ExecutionConfig, folder: Path) -> None:
        """Raises: InputError when submitit is not installed."""
        if importlib.util.find_spec("submitit") is None:
            rule, remedy = "needs submitit", "pip install 'megatron-codex[slurm]'"
            raise InputError("executor", value="slurm", rule=rule, remedy=remedy)
        self._num_jobs = execution.num_workers
        self._folder = folder
        options: dict[str, Any] = {"timeout_min": execution.slurm_minutes, "cpus_per_task": 1}
        options["slurm_array_parallelism"] = self._num_jobs
        if execution.slurm_partition is not None:
            options["slurm_partition"] = execution.slurm_partition
        if execution.slurm_memory_gb is not None:
            options["mem_gb"] = execution.slurm_memory_gb
        self._options = options

    def __call__(
        self, function: Callable[[T], None], tasks: Sequence[T], done: Callable[[T], bool]
    ) -> Generator[None, None, None]:
        """Yields once a task that is done; ends early after the last round. Raises: what function raises."""
        if len(tasks) == 1:  # not worth a place in the queue
            function(tasks[0])
            yield
            return
        submitter = _submitter(self._folder)
        submitter.update_parameters(**self._options)
        for number in range(1, _MAX_ROUNDS + 1):
            num_jobs = min(self._num_jobs, len(tasks))
            shares = [list(tasks[first::num_jobs]) for first in range(num_jobs)]
            jobs = submitter.map_array(partial(_do_share, function, done), shares)
            failures = []
            try:
                for position in _ended(jobs):
                    fault = _fault_of(jobs[position])
                    if fault is not None:
                        failures.append(fault)
                    yield from [None] * sum(map(done, shares[position]))
            except BaseException:
                _cancel(jobs)
                raise
            tasks = [task for task in tasks if not done(task)]
            if not tasks:
                return
            _logger.warning(
                "round %d of %d: %d tasks left (%s)", number, _MAX_ROUNDS, len(tasks), "; ".join(failures[:3])
            )


def _submitter(folder: Path) -> Any:
    import submitit

    return submitit.AutoExecutor(folder=folder, cluster="slurm")


def _do_share(function: Callable[[T], None], done: Callable[[T], bool], tasks: Sequence[T]) -> Exception | None:
    """A job's life: its tasks, and the error of the first that failed, as a value: submitit would wrap it."""
    # Before the time limit, and before a preemption, submitit raises a RuntimeError wherever the task may be: a reader
    # would take it for a damaged archive. The job works on until it is killed, and leaves the rest to the next round.
    for warning in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(warning, signal.SIG_IGN)
    for task in tasks:
        if not done(task):
            try:
                function(task)
            except Exception as error:
                return error
    return None


def _ended(jobs: Sequence[Any]) -> Iterator[int]:
    """Positions of the jobs as they end: they left a result, or were twice in a row not in the queue."""
    running = set(range(len(jobs)))
    absent: set[int] = set()
    asked_at = time.monotonic()
    said: set[str] = set(_USUAL_REASONS)
    while running:
        time.sleep(_RESULT_POLL_S)
        found = {position for position in running if jobs[position].paths.result_pickle.exists()}
        if time.monotonic() - asked_at > _QUEUE_POLL_S:
            asked_at = time.monotonic()
            queued = _queued(jobs)
            if queued is not None:
                for reason in sorted(set(queued.values()) - said):
                    _logger.warning("jobs wait in the queue for this reason: %s", reason)
                    said.add(reason)
                missing = {position for position in running if jobs[position].job_id not in queued}
                found |= missing & absent
                absent = missing
        running -= found
        yield from sorted(found)


def _fault_of(job: Any) -> str | None:
    """One line of why a job left no result, None when it left one. Raises: the error that its function returned."""
    if not job.paths.result_pickle.exists():
        return f"job {job.job_id} left the queue without a result, its log is {job.paths.stderr}"
    error = job.exception()  # of submitit itself: the function's are values
    if error is not None:
        return f"job {job.job_id}: {str(error).strip().splitlines()[-1]}"
    result = job.result()
    if isinstance(result, Exception):
        raise result
    return None


def _queued(jobs: Sequence[Any]) -> dict[str, str] | None:
    """Those of the jobs that wait or run, and what they wait for; None when the controller does not answer now."""
    command = ["squeue", "--noheader", "--array", "--format=%i %r", f"--user={os.getuid()}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_QUEUE_TIMEOUT_S)
    except (subprocess.SubprocessError, OSError) as error:
        _logger.warning("squeue did not answer (%s); the jobs are waited for", error)
        return None
    reasons = dict(line.split(maxsplit=1) for line in asked.stdout.splitlines())
    return {job.job_id: reasons[job.job_id].strip() for job in jobs if job.job_id in reasons}


def _cancel(jobs: Sequence[Any]) -> None:
    """End an array, and wait until its jobs have ended: they may be writing."""
    array = str(jobs[0].job_id).partition("_")[0]
    subprocess.run(["scancel", array], capture_output=True, check=False, timeout=_QUEUE_TIMEOUT_S)
    deadline = time.monotonic() + _QUEUE_TIMEOUT_S
    while _queued(jobs) != {}:
        if time.monotonic() > deadline:
            _logger.warning("jobs of array %s are still in the queue", array)
            return
        time.sleep(_RESULT_POLL_S)
