"""Configuration of tools/launch.py: a command of tools/, the nodes it gets, and what is done when it is stopped.

Rules that need the command's own configuration (how its ranks lie on nodes) are checked in launch/command.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megatron_codex.config.bounds import below
from megatron_codex.errors import Fault, raise_faults

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOUNT = re.compile(r"[^:,\s]+(:[^:,\s]+){1,2}")
_REQUEUES = 20
"""Of a job, where nothing is said of it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""What no line of a script, and no name of a file in it, may hold: a line end would begin a command of its own."""


@dataclass(frozen=True, kw_only=True)
class ResourcesConfig:
    """What is asked of SLURM."""

    nodes: int = 1
    """Nodes of a job."""
    tasks_per_node: int = 1
    """Processes that srun starts on each node; of training, its ranks: one for each GPU."""
    gpus_per_node: int = 0
    """GPUs of each node; 0: none are asked for, and ranks compute on the CPU."""
    gpu_type: str | None = None
    """Kind of GPU in the cluster's words, for example a100."""
    cpus_per_task: int = 1
    """Cores of each process."""
    memory_gb: float | None = None
    """Memory of a node's processes together, in gigabytes; none: the cluster's default; 0: all of the node's."""
    time_minutes: int = 60
    """Time limit of a job, in minutes. Training is told before it ends, and goes on in the same job, queued again."""
    partition: str | None = None
    """Partition; none: the cluster's default."""
    account: str | None = None
    """Account that pays."""
    qos: str | None = None
    """Quality of service."""
    reservation: str | None = None
    """Reservation to run in."""
    constraint: str | None = None
    """Features that nodes must have, in SLURM's words, for example "a100&ib"."""
    exclude: tuple[str, ...] = ()
    """Nodes to keep out; those that preflight finds bad are added by the job."""
    switches: int | None = None
    """Leaf switches that the nodes may hang on, at most: fewer make collectives faster and the queue longer."""
    mpi: str | None = None
    """srun --mpi, for example pmix: how commands with executor=mpi find each other; none: the cluster's default."""

    def __post_init__(self) -> None:
        faults = below(self, 1, "nodes", "tasks_per_node", "cpus_per_task", "time_minutes", "switches")
        faults += below(self, 0, "gpus_per_node", "memory_gb")
        words = {name: getattr(self, name) for name in ("partition", "account", "qos", "reservation", "constraint")}
        words |= {"gpu_type": self.gpu_type, "mpi": self.mpi}
        for name, value in words.items():
            faults += _one_word(name, value)
        for node in self.exclude:
            faults += _one_word("exclude", node)
        if self.gpu_type is not None and self.gpus_per_node == 0:
            rule, remedy = "is read with resources.gpus_per_node only", "give how many, or leave it out"
            faults.append(
                Fault(field="gpu_type", value=self.gpu_type, rule=rule, remedy=remedy, others=("gpus_per_node",))
            )
        raise_faults(faults)

    @property
    def num_tasks(self) -> int:
        """Processes of a job."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """A job array: its tasks share the command's work."""

    tasks: int = 1
    """Jobs of the array, each with a share I/N of the work; 1: no array."""
    at_a_time: int | None = None
    """Of these, how many may run at a time; none: as many as there is room for."""

    def __post_init__(self) -> None:
        raise_faults(below(self, 1, "tasks", "at_a_time"))


@dataclass(frozen=True, kw_only=True)
class RestartsConfig:
    """What is done when a job is stopped, and when it fails."""

    signal_lead_s: int = 300
    """Seconds before the time limit at which the job is told to save a checkpoint and go back into the queue."""
    max_requeues: int | None = None
    """Times that a job goes back into the queue, for whatever reason; with `launch.py local`, that ranks which hang or
    are lost are started again. 0: never; none: 20 in a job, 0 on this machine. Bad input and failed work never do."""
    stop_wait_s: int = 60
    """Seconds that ranks have to end by themselves once one of them has ended; then they are killed."""
    on_failure: str | None = None
    """Shell command run on the job's first node when the job fails for good: mail, a web hook. It finds MCX_JOB_ID,
    MCX_NAME, MCX_RUN_DIR, MCX_EXIT_CODE, MCX_REASON, MCX_RESTARTS and MCX_LOG in its environment."""
    on_failure_timeout_s: int = 60
    """Seconds that it has; then it is killed. How it ends changes nothing of the job's end."""

    def __post_init__(self) -> None:
        faults = below(self, 0, "max_requeues")
        faults += below(self, 1, "stop_wait_s", "on_failure_timeout_s")
        if not 1 <= self.signal_lead_s <= 65535:
            rule, remedy = "must be 1 to 65535, SLURM's bounds", "300 is five minutes"
            faults.append(Fault(field="signal_lead_s", value=self.signal_lead_s, rule=rule, remedy=remedy))
        faults += _one_line("on_failure", self.on_failure)
        raise_faults(faults)

    @property
    def in_queue(self) -> int:
        """Times that a job goes back into the queue."""
        return _REQUEUES if self.max_requeues is None else self.max_requeues

    @property
    def here(self) -> int:
        """Times that ranks are started again on this machine: somebody is there to see them end."""
        return self.max_requeues or 0


@dataclass(frozen=True, kw_only=True)
class ContainerConfig:
    """The container that the command runs in."""

    kind: Literal["none", "pyxis", "enroot", "apptainer"] = "none"
    """none: on the node itself; pyxis: options of srun (a plug-in of the cluster); enroot, apptainer: that command."""
    image: str | None = None
    """Image in the container's words: a .sqsh or .sif file, or registry#name:tag."""
    mounts: tuple[str, ...] = ()
    """FROM:TO, or FROM:TO:OPTIONS; project_dir and run_dir are mounted in any case."""

    def __post_init__(self) -> None:
        faults = _one_line("image", self.image)
        if (self.kind == "none") != (self.image is None):
            rule = "is required with a container" if self.image is None else "is read with container.kind only"
            remedy = "give container.kind and container.image, or none of the two"
            faults.append(Fault(field="image", value=self.image, rule=rule, remedy=remedy, others=("kind",)))
        for mount in self.mounts:
            if not _MOUNT.fullmatch(mount):
                rule, remedy = "must be FROM:TO or FROM:TO:OPTIONS, without spaces", "for example /data:/data:ro"
                faults.append(Fault(field="mounts", value=mount, rule=rule, remedy=remedy))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class LaunchConfig:
    """A command of tools/, the nodes that it gets, and what is done when it is stopped."""

    command: str
    """Which: train, sample, evaluate, preprocess_data, build_corpus, report or another one of tools/."""
    run_dir: Path
    """Directory of the run, on a file system that all nodes see; RUN/launch has script, log and history of the jobs.
    Of train also where it writes."""
    command_config: tuple[Path, ...] = ()
    """YAML files of the command's configuration; relative ones lie in project_dir."""
    arguments: tuple[str, ...] = ()
    """Further arguments of the command: flags and section.key=value. {run_dir} stands for the run's directory,
    {chain_dir} for that of the chain which it is a stage of (alone: for the one that run_dir lies in)."""
    name: str | None = None
    """Name of the job and of its files in RUN/launch; none: that of run_dir."""
    after: tuple[str, ...] | None = None
    """In a chain: names of the stages whose end this one waits for; none: the one before it."""
    launcher: Literal["srun", "mpirun", "deepspeed", "local"] = "srun"
    """What starts the ranks: in a job srun or mpirun; on this machine local (no launcher), mpirun or deepspeed."""
    project_dir: Path | None = None
    """This repository, as the nodes see it; none: this checkout."""
    python: str | None = None
    """Python of the nodes; none: the one that runs this."""
    modules: tuple[str, ...] = ()
    """Environment modules to load, in order."""
    environment: tuple[str, ...] = ()
    """NAME=VALUE for the command's processes; these win over what the script sets."""
    preflight: bool = True
    """Of train: check nodes, links, clocks, disk, code and data before the ranks start (tools/preflight.py). A bad node
    is named in RUN/launch/bad_nodes.txt, and kept out of the next start."""
    watchdog: bool = True
    """Of train: a process beside each node's ranks that names the rank which no longer moves, writes all stacks to
    RUN/launch/hangs and ends the ranks (training.hang_timeout_s)."""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    """What is asked of SLURM."""
    array: ArrayConfig = field(default_factory=ArrayConfig)
    """A job array."""
    restarts: RestartsConfig = field(default_factory=RestartsConfig)
    """What is done when a job is stopped, or fails."""
    container: ContainerConfig = field(default_factory=ContainerConfig)
    """The container."""

    def __post_init__(self) -> None:
        faults = [*_one_line("run_dir", str(self.run_dir)), *_one_line("name", self.name)]
        faults += [fault for text in self.arguments for fault in _one_line("arguments", text)]
        faults += [fault for text in self.modules for fault in _one_word("modules", text)]
        faults += _one_line("python", self.python)
        faults += _one_line("project_dir", str(self.project_dir or ""))
        for setting in self.environment:
            name, equals, _ = setting.partition("=")
            if not (equals and _NAME.fullmatch(name)):
                rule, remedy = "must be of the form NAME=VALUE", "for example NCCL_SOCKET_IFNAME=ib0"
                faults.append(Fault(field="environment", value=setting, rule=rule, remedy=remedy))
            faults += _one_line("environment", setting)
        if self.project_dir is not None and not self.project_dir.is_absolute():
            rule, remedy = "must be an absolute path", "for example /shared/megatron_codex"
            faults.append(Fault(field="project_dir", value=self.project_dir, rule=rule, remedy=remedy))
        if not self.job_name:
            rule, remedy = "ends in no letter a-z, digit or underscore to name the job by", "give --name"
            named, shown = ("name", self.name) if self.name else ("run_dir", str(self.run_dir))
            faults.append(Fault(field=named, value=shown, rule=rule, remedy=remedy))
        seconds = 60 * self.resources.time_minutes
        if self.restarts.signal_lead_s >= seconds:
            rule = f"must be below resources.time_minutes = {self.resources.time_minutes} ({seconds} s)"
            value, others = self.restarts.signal_lead_s, ("resources.time_minutes",)
            remedy = f"for example {max(1, seconds // 6)}"
            faults.append(Fault(field="restarts.signal_lead_s", value=value, rule=rule, remedy=remedy, others=others))
        raise_faults(faults)

    @property
    def job_name(self) -> str:
        """The name, as a file's and a job's: without what a shell, a file system or SLURM would read as its own."""
        return re.sub(r"[^A-Za-z0-9._-]+", "_", self.name or self.run_dir.name).strip("_.-")[:_MAX_NAME]


_MAX_NAME = 100
"""Letters of a job's name: file names end at 255, and suffixes follow."""


@dataclass(frozen=True, kw_only=True)
class ChainConfig:
    """Run several commands one after the other, as jobs that wait for each other. What is done is not done again."""

    stages: tuple[Path, ...]
    """YAML files of LaunchConfig's values, one a stage, in order; a stage is named by `name`, or else by its file."""
    run_dir: Path
    """Directory of the chain; a stage's run_dir is RUN/NAME, where its file does not give one."""
    shared: tuple[Path, ...] = ()
    """YAML files of values for all stages (partition, container, environment); a stage's own win."""
    set: tuple[str, ...] = ()
    """section.key=value of LaunchConfig for all stages, for example resources.partition=debug; these win."""
    local: bool = False
    """Run the stages on this machine, without SLURM."""
    dry_run: bool = False
    """Print the scripts and start nothing."""

    def __post_init__(self) -> None:
        faults = _one_line("run_dir", str(self.run_dir))
        if not self.stages:
            faults.append(Fault(field="stages", value=(), rule="must name at least one", remedy="give --stages YAML"))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class SubmitConfig(LaunchConfig):
    """Write RUN/launch/NAME.sbatch and submit it. Arguments after -- are the command's."""

    dry_run: bool = False
    """Print the script and submit nothing."""


@dataclass(frozen=True, kw_only=True)
class StatusConfig:
    """What the jobs of a run, or of a chain's stages, are doing: queue, restarts, step, loss, tokens/s, time left."""

    run: Path
    """Directory of a run or a chain."""
    json: bool = False
    """Print one JSON object instead of a table."""


def _one_line(name: str, value: str | None) -> list[Fault]:
    if value is None or not _CONTROL.search(value):
        return []
    return [Fault(field=name, value=value, rule="has a control character", remedy="leave it out")]


def _one_word(name: str, value: str | None) -> list[Fault]:
    """SLURM's own names: no space, no quote, and no dash in front that would be an option."""
    if value is None or re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.,:/+&|*()\[\]=-]*", value):
        return []
    return [Fault(field=name, value=value, rule="is not one word of letters and digits", remedy="check the name")]
