"""Other launchers of this machine: a command as mpirun or DeepSpeed's launcher starts it.

In: a LaunchConfig and a command. Out: the command line that starts its ranks.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import socket
from collections.abc import Sequence

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.errors import InputError, WorkError

_MPI_RANK = (
    "export RANK=$OMPI_COMM_WORLD_RANK LOCAL_RANK=$OMPI_COMM_WORLD_LOCAL_RANK WORLD_SIZE=$OMPI_COMM_WORLD_SIZE; "
    'exec "$@"'
)
_HERE = "127.0.0.1"
_PORTS = range(10000, 30000)
"""Below those that the kernel gives to outgoing connections, which could take one in between."""


def launcher_command(config: LaunchConfig, command: Sequence[str]) -> list[str] | None:
    """The command under another launcher of this machine; None where the ranks are started without one.

    Raises: InputError when the launcher is not installed.
    """
    if config.launcher in ("srun", "local"):
        return None
    if shutil.which(config.launcher) is None:
        remedy = f"pip install 'megatron-codex[{'mpi' if config.launcher == 'mpirun' else 'deepspeed'}]'"
        raise InputError("launcher", value=config.launcher, rule="is not on the PATH", remedy=remedy)
    count, port = str(config.resources.num_tasks), str(free_port())
    if config.launcher == "mpirun":
        meeting = ["-x", f"MASTER_ADDR={_HERE}", "-x", f"MASTER_PORT={port}"]
        return ["mpirun", "-n", count, "--oversubscribe", *meeting, "bash", "-c", _MPI_RANK, "rank", *command]
    _, program, *arguments = command  # its launcher puts a Python of its own in front
    return ["deepspeed", "--num_gpus", count, "--master_port", port, "--no_local_rank", program, *arguments]


def free_port() -> int:
    """One that nobody has at this moment: the first rank takes it a second later. Raises: WorkError: there is none."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", port))
            return port
    raise WorkError(f"every port from {_PORTS.start} to {_PORTS.stop - 1} is in use on this machine")
