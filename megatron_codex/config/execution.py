"""Where the tasks of offline work run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How many tasks run at a time, and where."""

    executor: Literal["processes", "mpi", "slurm"] = "processes"
    """Processes of this machine, ranks of an MPI job, or jobs of a SLURM cluster."""
    workers: int | None = None
    """Tasks at a time; none: one for each core that this process may use."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            rule, remedy = "must be at least 1", "give 1 or more"
            raise_faults([Fault(field="workers", value=self.workers, rule=rule, remedy=remedy)])

    @property
    def num_workers(self) -> int:
        """Tasks at a time."""
        return self.workers or len(os.sched_getaffinity(0))
