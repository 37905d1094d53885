"""What must hold between a command and the nodes that it gets, checked before anything is written or queued."""

from __future__ import annotations

import math
from typing import Any

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import Fault, raise_faults
from megatron_codex.launch.commands import command_config, require_command
from megatron_codex.model.checkpoint_files import CHECKPOINTS, newest_checkpoint
from megatron_codex.model.same_run import require_same_run


def check_launch(config: LaunchConfig) -> Any:
    """The command's own configuration. Raises: InputError or ConfigError with what does not fit."""
    command = require_command(config.command)
    raise_faults([*_array_faults(config), *_argument_faults(config)])
    own = command_config(config)
    faults = []
    if command.ranks == "joined":
        faults += _tensor_faults(config, own.parallel.tensor_model_parallel_size)
        faults += _gpu_faults(config)
    elif config.resources.num_tasks > 1 and getattr(own, "executor", None) != "mpi":
        rule = f"gives {config.resources.num_tasks} processes, and {config.command} is one"
        remedy = "give 1 node and 1 task a node"
        if command.ranks == "mpi":
            remedy += ", or --executor mpi among the arguments"
        elif command.takes_shards:
            remedy += ", and array.tasks: these share the work"
        faults.append(Fault(field="resources", rule=rule, remedy=remedy))
    raise_faults(faults)
    if isinstance(own, TrainConfig):
        own.check_world_size(config.resources.num_tasks)
        _check_run_dir(own)
    return own


def _check_run_dir(own: TrainConfig) -> None:
    """Raises: InputError when the directory has checkpoints of another run, which this one could not continue."""
    checkpoints = own.training.output_dir / CHECKPOINTS
    start = newest_checkpoint(checkpoints) if own.training.resume == "auto" else None
    if start is not None:
        require_same_run(own, start)


def _array_faults(config: LaunchConfig) -> list[Fault]:
    tasks = config.array.tasks
    if tasks == 1 or require_command(config.command).takes_shards:
        return []
    rule = f"must be 1: {config.command} cannot be shared by the jobs of an array"
    return [Fault(field="array.tasks", value=tasks, rule=rule, remedy="leave it out")]


def _argument_faults(config: LaunchConfig) -> list[Fault]:
    own = {"--shard": "array.tasks"}
    if config.command == "train":
        own["training.output_dir"] = "run_dir"
    return [
        Fault(
            field="arguments", value=argument, rule=f"is decided by {setting}", remedy=f"leave it out, give {setting}"
        )
        for argument in config.arguments
        for name, setting in own.items()
        if argument.partition("=")[0] == name
    ]


def _tensor_faults(config: LaunchConfig, size: int) -> list[Fault]:
    """Tensor-parallel ranks speak in every layer: over a network they would wait for it most of the time."""
    per_node = config.resources.tasks_per_node
    if per_node % size == 0:
        return []
    rule = f"must divide the ranks of a node, resources.tasks_per_node = {per_node}"
    remedy = f"for example {math.gcd(per_node, size)}, or give other tasks_per_node"
    field = "parallel.tensor_model_parallel_size"
    return [Fault(field=field, value=size, rule=rule, remedy=remedy)]


def _gpu_faults(config: LaunchConfig) -> list[Fault]:
    gpus, tasks = config.resources.gpus_per_node, config.resources.tasks_per_node
    if gpus in (0, tasks):
        return []
    rule = f"must be resources.gpus_per_node = {gpus}: each rank has a GPU of its own"
    return [Fault(field="resources.tasks_per_node", value=tasks, rule=rule, remedy=f"give {gpus}")]


def slurm_faults(config: LaunchConfig) -> list[Fault]:
    """What can be run on this machine only, not in a job."""
    faults = []
    if "\\" in str(config.run_dir.absolute()):
        rule, remedy = "has a backslash, which SLURM reads as its own in the name of the log", "give another directory"
        faults.append(Fault(field="run_dir", value=config.run_dir, rule=rule, remedy=remedy))
    if config.launcher in ("srun", "mpirun"):
        return faults
    reason = "reaches other nodes by ssh" if config.launcher == "deepspeed" else "starts ranks on this machine"
    rule, remedy = f"{reason}: it is for `launch.py local`", "give srun; engine=deepspeed trains under it, too"
    return [*faults, Fault(field="launcher", value=config.launcher, rule=rule, remedy=remedy)]
