"""What a command's exit code means: one table for people, for job scripts and for schedulers.

`srun` and `mpirun` hand a rank's code on; `torchrun` does not, its agent ends with 1 for any failure. A rank that a
signal ended has 128 + the signal's number in a shell.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of every command, and of the jobs that run them."""

    DONE = 0
    """The work is done."""
    WORK_FAILED = 1
    """The work failed; the same command would most likely fail again."""
    BAD_INPUT = 2
    """A configuration, an argument or a file is faulty: it must be mended first."""
    STOPPED = 75
    """A signal asked training to stop; a checkpoint of its last step is written. The same command goes on."""
    BAD_NODE = 76
    """Preflight named a bad node: RUN/launch/bad_nodes.txt. The same command goes on without it."""
    HANG = 77
    """The watchdog found that ranks no longer move, wrote a report and ended them. The same command goes on."""
    LOST_RANK = 78
    """A rank of the run is gone, with its node or without. The same command goes on."""
    INTERRUPTED = 130
    """Ctrl-C."""

    @property
    def is_worth_a_restart(self) -> bool:
        """Whether the same command, started again, goes on: what a job script puts back into the queue."""
        return self in _WORTH_A_RESTART


_WORTH_A_RESTART = frozenset({ExitCode.STOPPED, ExitCode.BAD_NODE, ExitCode.HANG, ExitCode.LOST_RANK})
