"""The tiny chain as dependent jobs on a real SLURM of two nodes, and on this machine: the same bytes; launchers too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from megatron_codex.jsonl import read_jsonl
from megatron_codex.launch.queue import queued_tasks
from tests.launch.tiny_chain import write_chain

pytestmark = [pytest.mark.multirank, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
STAGES = ["preprocess", "train", "sample", "evaluate", "report"]
OF_A_PLACE = ("checkpoint", "cpu_s", "wall_s")
"""Fields of a row that are of a directory or a moment."""


@dataclass(frozen=True)
class Chain:
    """Its stages' files, and where it has run on this machine."""

    folder: Path
    stages: list[Path]
    here: Path


def launch(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools/launch.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("chain") / "it's here"
    stages = write_chain(folder)
    ended = launch("chain", "--local", "--stages", *stages, "--run-dir", folder / "local")
    assert ended.returncode == 0, ended.stderr
    return Chain(folder, stages, folder / "local")


def weights(run: Path) -> dict[str, bytes]:
    """Weights and optimizer state of the last step, by file."""
    return {path.name: path.read_bytes() for path in sorted(run.glob("train/checkpoints/step_*/*.safetensors"))}


def rows(path: Path) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name not in OF_A_PLACE} for row in read_jsonl(path)]


@pytest.mark.slurm
def test_dependent_jobs_give_what_this_machine_gives(slurm_cluster: object, chain: Chain) -> None:
    run = chain.folder / "slurm"
    command = ("chain", "--stages", *chain.stages, "--run-dir", run)
    submitted = launch(*command)
    assert submitted.returncode == 0, submitted.stderr
    jobs = [line.split()[2].rstrip(",") for line in submitted.stdout.splitlines()]
    again = launch(*command)
    assert again.stdout.splitlines() == [
        f"{name}: job {job} is in the queue already" for name, job in zip(STAGES, jobs, strict=True)
    ]
    deadline = time.monotonic() + 300
    while queued_tasks() and time.monotonic() < deadline:
        time.sleep(0.5)
    status = json.loads(launch("status", run, "--json").stdout)["stages"]
    logs = "\n".join(path.read_text() for path in run.glob("*/launch/*.out"))
    assert [(row["name"], row["state"]) for row in status] == [(name, "done") for name in STAGES], logs
    assert [(row["tasks_done"], row["restarts"]) for row in status] == [(2, 0), (1, 0), (2, 0), (2, 0), (1, 0)]
    assert (status[1]["progress"]["step"], status[1]["progress"]["train_iters"]) == (3, 3)

    assert len(weights(run)) == 4
    assert weights(run) == weights(chain.here)
    for tokens in ("tokens.bin", "tokens.idx"):
        assert (run / "preprocess" / tokens).read_bytes() == (chain.here / "preprocess" / tokens).read_bytes()
    for made in ("sample/samples.jsonl", "evaluate/results.jsonl"):
        assert len(rows(run / made)) == 6
        assert rows(run / made) == rows(chain.here / made)
    assert "base, T 0.8" in (run / "report/index.html").read_text()

    assert launch(*command).stdout.splitlines() == [f"{name}: done before" for name in STAGES]
    assert queued_tasks() == []


def test_what_was_done_here_is_not_done_again(chain: Chain) -> None:
    written = {path: path.stat().st_mtime_ns for path in chain.here.rglob("*") if path.is_file()}
    ended = launch("chain", "--local", "--stages", *chain.stages, "--run-dir", chain.here)
    assert (ended.returncode, ended.stdout) == (0, "")
    again = {path: path.stat().st_mtime_ns for path in chain.here.rglob("*") if path.is_file()}
    changed = {path.name for path in again if again[path] != written.get(path)}
    assert changed <= {"chain.json", *(f"{name}{suffix}" for name in STAGES for suffix in (".yaml", ".running"))}


@pytest.mark.parametrize("launcher", ["mpirun", "deepspeed"])
def test_other_launchers_start_the_same_training(chain: Chain, tmp_path: Path, launcher: str) -> None:
    pytest.importorskip({"mpirun": "mpi4py", "deepspeed": "deepspeed"}[launcher])
    (tmp_path / "preprocess").symlink_to(chain.here / "preprocess")
    as_root = {f"{name}_ALLOW_RUN_AS_ROOT{suffix}": "1" for name in ("OMPI", "PRTE") for suffix in ("", "_CONFIRM")}
    ended = launch(
        *("local", "--config", chain.folder / "train.yaml", "--run-dir", tmp_path / "train"),
        *("--launcher", launcher),
        **as_root,
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert weights(tmp_path) == weights(chain.here)
