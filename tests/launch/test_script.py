"""The script: its #SBATCH lines, its environment, how ranks start, containers."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.config.launch import ArrayConfig, ContainerConfig, LaunchConfig, ResourcesConfig, RestartsConfig
from megatron_codex.launch.script import render

ROOT = Path(__file__).parents[2]
RESOURCES = ResourcesConfig(nodes=4, tasks_per_node=8, gpus_per_node=8, cpus_per_task=6, time_minutes=90)


def launch(**values: object) -> LaunchConfig:
    given = {"command": "train", "run_dir": Path("/runs/a"), "python": "python", "resources": RESOURCES} | values
    return LaunchConfig(**given)  # type: ignore[arg-type]


def script(**values: object) -> str:
    return render(launch(**values), work_key="key")


def directives(text: str) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, flags=re.MULTILINE))


def test_what_is_asked_of_slurm() -> None:
    asked = directives(
        script(
            restarts=RestartsConfig(signal_lead_s=120),
            resources=replace(
                RESOURCES,
                memory_gb=0.5,
                partition="gpu",
                account="a1",
                qos="long",
                exclude=("n1", "n2"),
                gpu_type="a100",
                constraint="a100&ib",
                reservation="maintenance",
                switches=2,
            ),
        )
    )
    assert (asked["nodes"], asked["ntasks-per-node"]) == ("4", "8")
    assert (asked["gres"], asked["cpus-per-task"], asked["mem"], asked["time"]) == ("gpu:a100:8", "6", "500M", "90")
    assert (asked["partition"], asked["account"], asked["qos"], asked["exclude"]) == ("gpu", "a1", "long", "n1,n2")
    assert (asked["signal"], asked["open-mode"], asked["requeue"]) == ("B:USR1@120", "append", "")
    assert (asked["constraint"], asked["reservation"], asked["switches"]) == ('"a100&ib"', "maintenance", "2")
    assert (asked["distribution"], asked["kill-on-invalid-dep"]) == ("block:block", "yes")


def test_a_job_that_may_not_restart_says_so() -> None:
    asked = directives(script(restarts=RestartsConfig(max_requeues=0)))
    assert "no-requeue" in asked
    assert "requeue" not in asked


def test_a_job_is_queued_again_20_times_where_nothing_is_said() -> None:
    assert "max_requeues=20\n" in script()
    assert "max_requeues=3\n" in script(restarts=RestartsConfig(max_requeues=3))


def test_an_array_gives_each_job_its_share() -> None:
    text = script(command="sample", array=ArrayConfig(tasks=100, at_a_time=10), resources=ResourcesConfig())
    assert directives(text)["array"] == "0-99%10"
    assert 'command+=(--shard "$SLURM_ARRAY_TASK_ID/100")' in text
    assert directives(text)["output"] == "/runs/a/launch/a-%A_%a.out"


def test_a_rank_that_fails_ends_the_step() -> None:
    assert "exec srun --kill-on-bad-exit=1" in script()


def test_all_memory_of_a_node_is_asked_for_by_0() -> None:
    assert directives(script(resources=replace(RESOURCES, memory_gb=0)))["mem"] == "0M"
    assert "mem" not in directives(script())


def test_srun_is_told_what_it_does_not_take_from_sbatch() -> None:
    text = script(resources=replace(RESOURCES, mpi="pmix"))
    start = text[text.index("start() {") : text.index("\n}", text.index("start() {"))]
    assert "--cpus-per-task=6" in start and "--mpi=pmix" in start and "--wait=60" in start


def test_modules_are_loaded_in_order_before_the_command() -> None:
    text = script(modules=("cuda/12", "gcc/13"))
    assert text.index("module load cuda/12\n") < text.index("module load gcc/13\n") < text.index("command=(")


def test_each_variable_has_its_reason() -> None:
    lines = re.findall(r"^export (?:NCCL|OMP|TORCH|CUDA|PYTHON)[A-Z_]*=.*$", script(), flags=re.MULTILINE)
    assert {line.split("=")[0].removeprefix("export ") for line in lines} >= {"NCCL_DEBUG", "OMP_NUM_THREADS"}
    assert all("  # " in line for line in lines)


def test_nothing_of_nccl_without_gpus() -> None:
    assert "NCCL" not in script(resources=replace(RESOURCES, gpus_per_node=0))


def test_the_users_environment_wins() -> None:
    text = script(environment=("OMP_NUM_THREADS=3",))
    assert text.index("OMP_NUM_THREADS=6") < text.index("OMP_NUM_THREADS=3")


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
@pytest.mark.parametrize("kind", ["none", "pyxis", "enroot", "apptainer"])
@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "preprocess_data", "report"])
def test_every_script_is_bash(launcher: str, kind: str, command: str) -> None:
    container = ContainerConfig(kind=kind, image=None if kind == "none" else "a b'c.sqsh", mounts=("/data:/data:ro",))  # type: ignore[arg-type]
    array = ArrayConfig(tasks=3) if command in ("sample", "evaluate") else ArrayConfig()
    text = script(command=command, launcher=launcher, container=container, array=array, modules=("cuda/12",))
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_pyxis_is_asked_through_srun() -> None:
    container = ContainerConfig(kind="pyxis", image="r#codex:1", mounts=("/data:/data:ro",))
    text = script(container=container, project_dir=Path("/code"))
    assert "'--container-image=r#codex:1'" in text
    assert "--container-workdir=/code" in text
    assert "--container-mounts=/code:/code,/runs/a:/runs/a,/data:/data:ro" in text


@pytest.mark.parametrize(("kind", "program"), [("enroot", "enroot start"), ("apptainer", "apptainer exec --nv")])
def test_other_containers_stand_before_the_ranks_command(kind: str, program: str) -> None:
    text = script(container=ContainerConfig(kind=kind, image="codex.sif"))  # type: ignore[arg-type]
    line = next(line for line in text.splitlines() if 'bash -c "$rank" rank ' in line)
    assert line.split(" rank ")[1].startswith(program)
    assert line.endswith('codex.sif "$@"')
    words = shlex.split(line)
    mounts = [words[number + 1] for number, word in enumerate(words) if word in ("--mount", "--bind")]
    assert mounts == [f"{ROOT}:{ROOT}", "/runs/a:/runs/a"]
    if kind == "enroot":  # begins with the image's environment
        names = {words[number + 1] for number, word in enumerate(words) if word == "--env"}
        needed = {"RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_JOB_ID", "OMP_NUM_THREADS", "PYTHONPATH", "MCX_RUN_DIR"}
        assert names >= needed


def test_training_has_a_preflight_before_it_and_a_watchdog_on_each_node() -> None:
    text = script(run_dir=Path("/runs/it's"))
    assert text.index('run "${preflight[@]}"') < text.index('run "${command[@]}"')
    assert "tools/preflight.py" in text
    assert '(trap "" USR1 TERM && eval "exec $MCX_WATCHDOG --parent $$") &' in text
    line = next(line for line in text.splitlines() if line.startswith("export MCX_WATCHDOG="))
    words = line + """\neval "printf '%s\\\\n' $MCX_WATCHDOG\""""
    shown = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[1:] == ["-m", "megatron_codex.launch.watchdog", "/runs/it's"]
    assert "preflight.py" not in script(preflight=False)
    assert "WATCHDOG" not in script(command="sample")
    assert "WATCHDOG" not in script(watchdog=False)
    assert "WATCHDOG" not in script(watchdog=False, launcher="mpirun")


def test_mpirun_hands_the_environment_on() -> None:
    text = script(launcher="mpirun", environment=("A=1",))
    assert "--map-by ppr:8:node:PE=6" in text
    for name in ("MASTER_ADDR", "MASTER_PORT", "MCX_FIRST_END", "A", "NCCL_DEBUG"):
        assert f"-x {name} " in text + " "
