"""SLURM's queue: jobs put in, looked at and taken out, by sbatch, squeue and scancel. Accounting (sacct) is not needed.

In: scripts and job numbers. Out: job numbers and where jobs stand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from megatron_codex.errors import InputError, WorkError

_TIMEOUT_S = 60.0
_NOT_REACHED = ("contact slurm controller", "Socket timed out", "Connection refused", "Zero Bytes", "Communication")
"""In what sbatch says when the fault is the cluster's, not the job's."""


@dataclass(frozen=True, kw_only=True)
class QueuedTask:
    """A job in the queue, or a task of an array."""

    job: str
    """Number that sbatch gave: of an array, the array's."""
    task: int
    state: str
    """SLURM's word: PENDING, RUNNING, COMPLETING, ..."""
    reason: str
    """Why it waits."""
    nodes: str
    left: str
    """Time to its limit, as [days-]hours:minutes:seconds."""


def has_slurm() -> bool:
    """Whether SLURM's commands are here."""
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def submit_script(script: str, *, after: Sequence[str] = (), array: str | None = None, test_only: bool = False) -> str:
    """Put a script into the queue; its job number. after: jobs that must have ended well before it starts.

    array: numbers of the tasks to run, instead of all that the script names. test_only: nothing is put in; what SLURM
    says. Raises: InputError when SLURM refuses it; WorkError when SLURM does not answer.
    """
    if not has_slurm():
        remedy = "run on a login node of the cluster, or use `launch.py local`"
        raise InputError("launch.py submit", rule="sbatch is not on the PATH: no SLURM here", remedy=remedy)
    options = ["--test-only"] if test_only else ["--parsable"]
    options += [f"--dependency=afterok:{':'.join(after)}"] if after else []
    options += [f"--array={array}"] if array else []
    # The caller's own job, and its defaults for sbatch, are not this job's: all that it is stands in the script.
    ours = {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or not name.startswith(("SBATCH_", "SLURM_"))
    }
    asked = _asked(["sbatch", *options], ours, script)
    if asked.returncode == 0:
        return asked.stderr.strip() if test_only else asked.stdout.strip().partition(";")[0]
    said = " ".join(asked.stderr.split()).replace("sbatch: ", "").replace("error: ", "")
    if any(words in said for words in _NOT_REACHED):
        raise WorkError(f"sbatch: {said}; try again when the cluster answers")
    raise InputError("resources", rule=f"SLURM refuses the job: {said}", remedy="see sinfo, and sacctmgr for accounts")


def queued_tasks() -> list[QueuedTask] | None:
    """This user's jobs that wait or run; None where there is no SLURM. Raises: WorkError when it does not answer."""
    if not has_slurm():
        return None
    command = ["squeue", "--noheader", "--array", "--format=%F|%K|%T|%r|%N|%L", f"--user={os.getuid()}"]
    asked = _asked(command, dict(os.environ), None)
    if asked.returncode:
        raise WorkError(f"squeue: {' '.join(asked.stderr.split())}; try again when the cluster answers")
    tasks = []
    for line in asked.stdout.splitlines():
        job, task, state, reason, nodes, left = line.strip().split("|")
        number = int(task) if task.isdecimal() else 0  # N/A where there is no array
        tasks.append(QueuedTask(job=job, task=number, state=state, reason=reason, nodes=nodes, left=left))
    return tasks


def cancel_jobs(jobs: Sequence[str]) -> None:
    """Take jobs out of the queue."""
    if jobs:
        _asked(["scancel", *jobs], dict(os.environ), None)


def _asked(command: Sequence[str], environment: dict[str, str], text: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, env=environment, input=text, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"{command[0]} did not answer within {_TIMEOUT_S:.0f} s; try again later") from error
