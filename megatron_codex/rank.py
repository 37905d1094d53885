"""Which rank of a run this process is, by its launcher's environment: before torch, and where there is none."""

from __future__ import annotations

import os

_RANKS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""What launchers set for each process. (A batch script has SLURM_PROCID and SLURM_NTASKS, but starts no ranks.)"""


def launched_rank() -> str:
    """RANK, as torchrun and our launches set it; "0" for a process that nobody has launched as one of several."""
    return os.environ.get("RANK", "0")


def is_first_rank() -> bool:
    """Whether this process speaks for all of the run."""
    return launched_rank() == "0"


def joined_rank() -> tuple[int, int]:
    """(RANK, WORLD_SIZE) of the ranks that a launcher joins through torch.distributed; (0, 1) where there are none.

    Raises: ValueError naming the variable that is no such number.
    """
    rank, size = _number("RANK"), _number("WORLD_SIZE", 1)
    if rank >= size:
        raise ValueError(f"RANK {rank} of WORLD_SIZE {size}")
    return rank, size


def launched_share() -> tuple[int, int]:
    """(number of this process, their count) among the processes of one command that share its work.

    Counted are the ranks of mpirun (Open MPI, MPICH, Intel MPI) or of an srun step, and a SLURM array's tasks; both
    together, where each task of an array starts ranks. (0, 1) where there is no launcher. A batch script itself is no
    rank of the job, whatever --ntasks says. Raises: ValueError naming the variable that is no such number.
    """
    rank, size = 0, 1
    for rank_name, size_name in _RANKS:
        if rank_name in os.environ and size_name in os.environ:
            rank, size = _number(rank_name), _number(size_name)
            break
    task, tasks = array_task()
    if not (0 <= rank < size and 0 <= task < tasks):
        raise ValueError(f"rank {rank} of {size}, array task {task} of {tasks}")
    return task * size + rank, tasks * size


def array_task() -> tuple[int, int]:
    """(number of this task, their count) in a SLURM array; (0, 1) where there is none."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ or "SLURM_ARRAY_TASK_COUNT" not in os.environ:
        return 0, 1
    number, count = _number("SLURM_ARRAY_TASK_ID"), _number("SLURM_ARRAY_TASK_COUNT")
    first, step = _number("SLURM_ARRAY_TASK_MIN", 0), max(1, _number("SLURM_ARRAY_TASK_STEP", 1))
    last = _number("SLURM_ARRAY_TASK_MAX", first + step * (count - 1))
    if (number - first) % step or (last - first) // step + 1 != count:
        raise ValueError("SLURM_ARRAY_TASK_ID is of an array whose numbers are not evenly spaced")
    return (number - first) // step, count


def _number(name: str, default: int = 0) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, no number")
    return int(text)
