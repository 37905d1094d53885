"""The environment of a job's processes, each variable with its reason.

In: a LaunchConfig. Out: variables, which stand in the script in this order; the user's own come last and win.
"""

from __future__ import annotations

from dataclasses import dataclass

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.launch.commands import require_command
from megatron_codex.launch.quoting import in_bash


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One variable. value: as bash reads it, quoted where it has to be."""

    name: str
    value: str
    reason: str


def environment(config: LaunchConfig, *, joined: bool) -> list[Variable]:
    """The variables of a job. joined: whether its ranks meet through torch.distributed."""
    threads = "a thread for each of its cores" if joined else "it has processes of its own, of a thread each"
    variables = [
        Variable(
            name="OMP_NUM_THREADS",
            value=str(num_threads(config)),
            reason=f"{threads}; unset, every process would take all cores of the node",
        ),
        Variable(name="PYTHONUNBUFFERED", value="1", reason="the last lines before a kill are in the log"),
        Variable(name="PYTHONFAULTHANDLER", value="1", reason="a crash in C leaves a Python stack in the log"),
    ]
    if joined and config.resources.gpus_per_node:
        variables += _nccl()
    return [*variables, *_users(config)]


def num_threads(config: LaunchConfig) -> int:
    """Threads of each process of the command."""
    return config.resources.cpus_per_task if require_command(config.command).ranks == "joined" else 1


def _nccl() -> list[Variable]:
    return [
        Variable(name="NCCL_DEBUG", value="WARN", reason="a failing link or device is named, not only an error code"),
        Variable(
            name="TORCH_NCCL_ASYNC_ERROR_HANDLING",
            value="1",
            reason="a collective that fails or times out ends its process: the job restarts instead of hanging",
        ),
        Variable(
            name="TORCH_FR_BUFFER_SIZE",
            value="2000",
            reason="the last collectives of each rank are kept, and written when one times out",
        ),
        Variable(
            name="TORCH_FR_DUMP_TEMP_FILE",
            value='"$launch_dir/collectives-$SLURM_JOB_ID-rank-"',
            reason="there: which rank did not come to which collective",
        ),
        Variable(
            name="CUDA_DEVICE_MAX_CONNECTIONS",
            value="1",
            reason="kernels start in the order of their calls: tensor-parallel communication beside them needs it",
        ),
    ]


def _users(config: LaunchConfig) -> list[Variable]:
    settings = (setting.partition("=") for setting in config.environment)
    return [Variable(name=name, value=in_bash(value), reason="from `environment`") for name, _, value in settings]
