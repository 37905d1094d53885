"""A LaunchConfig as a script for sbatch, which a person can read, change and submit by hand.

In: a checked LaunchConfig. Out: text: #SBATCH lines, the job's values, its environment with reasons, the command word
by word, how its ranks are started; then what every job does alike (job.sh). One srun task is one rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.resources import files

from megatron_codex.config.launch import LaunchConfig
from megatron_codex.launch.commands import command_arguments, has_watchdog, project_of, python_of, require_command
from megatron_codex.launch.containers import rank_prefix, srun_options
from megatron_codex.launch.environment import environment
from megatron_codex.launch.quoting import array_in_bash, in_bash, in_directive, in_file_pattern

_JOINED_RANK = """\
# A rank: the numbers of srun under the names that torch reads.
export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_STEP_NUM_TASKS"""
_MPI_RANK = """\
# A rank: the numbers of mpirun under the names that torch reads.
export RANK=$OMPI_COMM_WORLD_RANK LOCAL_RANK=$OMPI_COMM_WORLD_LOCAL_RANK WORLD_SIZE=$OMPI_COMM_WORLD_SIZE"""
_WATCHDOG = """\
# One rank of each node starts its watchdog, which ends with this shell: it names the rank that hangs. Signals that tell
# ranks to save are not for it.
if [ "$LOCAL_RANK" = 0 ]; then (trap "" USR1 TERM && eval "exec $MCX_WATCHDOG --parent $$") & fi"""
_RANK = """\
# Signals are for the program, and reach it: this shell stays, to tell its exit code. srun tells the highest one of all
# ranks, those it ended itself included; what counts is who ended first.
trap : USR1 TERM
code=75
if [ ! -e "$MCX_FIRST_END.told" ]; then
    "$@"
    code=$?
fi
if [ "$code" != 0 ] && mkdir "$MCX_FIRST_END" 2>/dev/null; then
    echo "${RANK:-${SLURM_PROCID:-0}} ${SLURMD_NODENAME:-$(hostname)} $code" >"$MCX_FIRST_END/end"
fi
exit "$code"\
"""


def render(config: LaunchConfig, *, work_key: str) -> str:
    """The script. work_key: names the work, so that its end is not taken for that of other work."""
    parts = [
        "#!/bin/bash",
        "\n".join(_head(config)),
        "\n".join(_directives(config)),
        "\n".join(_values(config, work_key)),
        "\n".join(_environment(config)),
        "\n".join(_command(config)),
        "\n".join(_start(config)),
        _part("job.sh"),
        "\n".join(_steps(config)),
    ]
    return parts[0] + "\n" + "\n\n".join(parts[1:]) + "\n"


def _part(name: str) -> str:
    """What is alike in all jobs: bash of this folder."""
    return files("megatron_codex.launch").joinpath(name).read_text(encoding="utf-8").rstrip()


def _head(config: LaunchConfig) -> Iterator[str]:
    resources, tasks = config.resources, config.array.tasks
    many = f"{tasks} jobs, each on " if tasks > 1 else ""
    yield f"# {config.job_name}: {config.command} on {many}{resources.nodes} x {resources.tasks_per_node} processes."
    yield f"# Written by tools/launch.py from the values in {config.job_name}.yaml beside it."


def _directives(config: LaunchConfig) -> Iterator[str]:
    resources, restarts, array = config.resources, config.restarts, config.array
    many = array.tasks > 1
    log = in_file_pattern(config.run_dir / "launch" / config.job_name) + ("-%A_%a.out" if many else "-%j.out")
    gpus = f"gpu:{resources.gpu_type}:" if resources.gpu_type else "gpu:"
    limit = f"%{array.at_a_time}" if array.at_a_time else ""
    options = {
        "job-name": config.job_name,
        "array": f"0-{array.tasks - 1}{limit}" if many else None,
        "nodes": resources.nodes,
        "ntasks-per-node": resources.tasks_per_node,
        "gres": f"{gpus}{resources.gpus_per_node}" if resources.gpus_per_node else None,
        "cpus-per-task": resources.cpus_per_task,
        "mem": None if resources.memory_gb is None else f"{math.ceil(resources.memory_gb * 1000)}M",
        "time": resources.time_minutes,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "reservation": resources.reservation,
        "constraint": resources.constraint,
        "exclude": ",".join(resources.exclude) or None,
        "switches": resources.switches,
        # Ranks that follow each other share a node: megatron-core's tensor-parallel groups are such ranks.
        "distribution": "block:block",
        "output": log,
        "open-mode": "append",
        "signal": f"B:USR1@{restarts.signal_lead_s}",
        "kill-on-invalid-dep": "yes",
    }
    for name, value in options.items():
        if value is not None:
            yield f"#SBATCH --{name}={in_directive(value)}"
    yield "#SBATCH --requeue" if restarts.in_queue else "#SBATCH --no-requeue"


def _values(config: LaunchConfig, work_key: str) -> Iterator[str]:
    yield f"name={config.job_name}"
    yield f"run_dir={in_bash(config.run_dir)}"
    yield 'launch_dir="$run_dir/launch"'
    yield f'done_dir="$launch_dir/$name.done/{work_key}"  # a file for each task of this work that is done'
    number = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if config.array.tasks > 1 else "$SLURM_JOB_ID"
    yield f'log="$launch_dir/$name-{number}.out"'
    yield 'bad_nodes="$launch_dir/bad_nodes.txt"'
    yield f"exclude={in_bash(','.join(config.resources.exclude))}"
    yield f"max_requeues={config.restarts.in_queue}"
    yield f"on_failure={in_bash(config.restarts.on_failure or '')}"
    yield f"on_failure_timeout_s={config.restarts.on_failure_timeout_s}"


def _environment(config: LaunchConfig) -> Iterator[str]:
    for module in config.modules:
        yield f"module load {in_bash(module)}"
    yield f"cd {in_bash(project_of(config))} || exit 1"
    yield "unset RANK LOCAL_RANK WORLD_SIZE  # of the shell that submitted this"
    yield 'export PYTHONPATH="$PWD"  # this checkout, whatever is installed'
    yield 'export MCX_RUN_DIR="$run_dir"'
    joined = require_command(config.command).ranks == "joined"
    for variable in environment(config, joined=joined):
        yield f"export {variable.name}={variable.value}  # {variable.reason}"
    if joined:
        yield "# Where ranks meet: the first node's address, as SLURM knows it."
        yield 'first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)'
        yield (
            "MASTER_ADDR=$(scontrol show node --oneliner \"$first_node\" | sed -n 's/.* NodeAddr=\\([^ ]*\\) .*/\\1/p')"
        )
        yield _part("port.sh")
        yield "export MASTER_ADDR MASTER_PORT"
    if has_watchdog(config):
        words = [python_of(config), "-m", "megatron_codex.launch.watchdog", str(config.run_dir)]
        names = [variable.name for variable in environment(config, joined=joined)]
        words = [*rank_prefix(config, [*names, "PYTHONPATH", "MCX_RUN_DIR"]), *words]
        command = in_bash(" ".join(in_bash(word) for word in words))
        yield f"export MCX_WATCHDOG={command}  # sees to it that a hang does not last until the time limit"


def _command(config: LaunchConfig) -> Iterator[str]:
    words = [python_of(config), f"tools/{config.command}.py", *command_arguments(config)]
    yield array_in_bash("command", words)
    if config.command == "train" and config.preflight:
        yield array_in_bash("preflight", [python_of(config), "tools/preflight.py", *command_arguments(config)])
    if config.array.tasks > 1:
        yield f'command+=(--shard "$SLURM_ARRAY_TASK_ID/{config.array.tasks}")'


def _start(config: LaunchConfig) -> Iterator[str]:
    joined = require_command(config.command).ranks == "joined"
    mpirun = config.launcher == "mpirun"
    rank = [*([_MPI_RANK if mpirun else _JOINED_RANK] if joined else []), _RANK]
    if has_watchdog(config):
        rank.insert(1, _WATCHDOG)
    yield "rank='" + "\n".join(rank) + "'"
    names = [variable.name for variable in environment(config, joined=joined)]
    prefix = "".join(f"{in_bash(word)} " for word in rank_prefix(config, [*names, "PYTHONPATH", "MCX_RUN_DIR"]))
    yield "start() {"
    options = _mpirun(config) if mpirun else _srun(config)
    for option in options:
        yield f"    {option} \\"
    yield f'        bash -c "$rank" rank {prefix}"$@"'
    yield "}"
    if mpirun:
        yield 'pass_on() { kill -s "$1" "$(cat "$MCX_FIRST_END.pid")"; }  # mpirun hands it on to its ranks'
    else:
        yield 'pass_on() { scancel --signal="$1" "$SLURM_JOB_ID"; }  # to all steps; not to this script'


def _srun(config: LaunchConfig) -> Iterator[str]:
    yield "exec srun --kill-on-bad-exit=1 " + f"--wait={config.restarts.stop_wait_s}"
    # Since SLURM 22.05 srun does not take it from sbatch: each rank would be bound to one core.
    yield f"    --cpus-per-task={config.resources.cpus_per_task}"
    if config.resources.mpi:
        yield f"    --mpi={in_bash(config.resources.mpi)}"
    for option in srun_options(config):
        yield f"    {in_bash(option)}"


def _mpirun(config: LaunchConfig) -> Iterator[str]:
    resources = config.resources
    yield f"exec mpirun -n {resources.num_tasks}"
    yield f"    --map-by ppr:{resources.tasks_per_node}:node:PE={resources.cpus_per_task} --bind-to core"
    names = [variable.name for variable in environment(config, joined=True)]
    exported = ["MASTER_ADDR", "MASTER_PORT", "PYTHONPATH", "MCX_RUN_DIR", "MCX_FIRST_END", *names]
    if has_watchdog(config):
        exported.append("MCX_WATCHDOG")
    yield "    " + " ".join(f"-x {name}" for name in dict.fromkeys(exported))


def _steps(config: LaunchConfig) -> Iterator[str]:
    if config.command == "train" and config.preflight:
        yield "# Before the ranks: nodes, links, clocks, disk, code and data; a bad node is named and kept out."
        yield 'run "${preflight[@]}"'
        yield "judge"
    yield 'run "${command[@]}"'
    yield "judge"
    yield 'touch "$done_dir/$task"'
    yield "tell done"
