"""Where the tasks of offline work run: processes of this machine, MPI ranks, or a SLURM array."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """What runs the tasks. The files that come out are the same for every choice."""

    executor: Literal["processes", "mpi", "slurm"] = "processes"
    """processes: of this machine; mpi: the ranks of mpirun or srun (extra `mpi`); slurm: job arrays (extra `slurm`)."""
    workers: int | None = None
    """Processes, or jobs of an array; none: one for each core that this process may use. MPI: its ranks decide."""
    slurm_partition: str | None = None
    """Partition of the array's jobs; none: the cluster's default."""
    slurm_minutes: int = 240
    """Time limit of a job; what it did not finish in time is done by the next round."""
    slurm_memory_gb: float | None = None
    """Memory of a job; none: the cluster's default."""

    def __post_init__(self) -> None:
        raise_faults(self._faults())

    def _faults(self) -> list[Fault]:
        return [
            Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy="give 1 or more")
            for name in ("workers", "slurm_minutes", "slurm_memory_gb")
            if (value := getattr(self, name)) is not None and value < 1
        ]

    @property
    def num_workers(self) -> int:
        """Processes or jobs to use."""
        return self.workers or available_cores()


def available_cores() -> int:
    """Cores that this process may run on (its affinity mask, which SLURM and taskset narrow)."""
    return len(os.sched_getaffinity(0))
