"""How a rank is put into a container: options of srun (pyxis), or a command in front of the rank's (enroot, apptainer).

Not run here: no container runtime was there. Source: the three projects' manuals.
"""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.launch.commands import project_of

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_JOB_VARIABLES = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "SLURM_JOB_NODELIST")
"""Of these heartbeats and preflight know the attempt and the node."""


def srun_options(config: LaunchConfig) -> list[str]:
    """pyxis: a plug-in that gives srun these options. The environment goes in with the process."""
    container = config.container
    if container.kind != "pyxis":
        return []
    project = str(project_of(config))
    mounts = ",".join(_mounts(config))
    return [f"--container-image={container.image}", f"--container-mounts={mounts}", f"--container-workdir={project}"]


def rank_prefix(config: LaunchConfig, variables: Sequence[str]) -> list[str]:
    """What stands before a rank's command. variables: names that the job's script exports."""
    container = config.container
    if container.kind == "apptainer":
        gpus = ["--nv"] if config.resources.gpus_per_node else []
        binds = [word for mount in _mounts(config) for word in ("--bind", mount)]
        return ["apptainer", "exec", *gpus, *binds, "--pwd", str(project_of(config)), str(container.image)]
    if container.kind == "enroot":
        # enroot starts with the image's environment: each variable is named that is to go in.
        names = [word for name in (*_RANK_VARIABLES, *_JOB_VARIABLES, *variables) for word in ("--env", name)]
        mounts = [word for mount in _mounts(config) for word in ("--mount", mount)]
        return ["enroot", "start", "--rw", *mounts, *names, str(container.image)]
    return []


def _mounts(config: LaunchConfig) -> list[str]:
    own = [f"{path}:{path}" for path in (project_of(config), config.run_dir)]
    return [*own, *config.container.mounts]
