"""One training run as a job on the tests' SLURM, for events that disturb it: started, watched, compared.

In: a cluster, a folder, settings. Out: what the job's history, heartbeats and checkpoints say of it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_codex.heartbeat import Heartbeat, heartbeat_path
from tests.parallel.jobs import base_job
from tests.parallel.ranks import ROOT

WAIT_S = 300.0
PLANTS = Path(__file__).parent / "plants"
"""On PYTHONPATH, its sitecustomize.py plants what MCX_PLANT says."""


def wait_for(what: str, reached: Callable[[], Any], *, timeout_s: float = WAIT_S) -> Any:
    """Until it is true; what it then is."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := reached():
            return found
        time.sleep(0.05)
    raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")


@dataclass(kw_only=True)
class ClusterRun:
    """A run of two ranks on two nodes."""

    data: Path
    """tests/parallel/jobs.py has written its data here."""
    output: Path
    steps: int
    training: dict[str, Any] = field(default_factory=dict)
    launch: dict[str, Any] = field(default_factory=dict)
    plant: str = ""
    _before: int = 0
    """Lines of the history when it was put into the queue."""

    def submit(self) -> None:
        """Put it into the queue."""
        self._before = len(self.history())
        training = {"output_dir": str(self.output), "train_iters": self.steps, "eval_interval": 0, "save_interval": 25}
        model = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
        job = base_job(self.data, training=training | self.training, model=model)
        config = self.output.with_suffix(".train.yaml")
        config.write_text(json.dumps(job))
        environment = ["TORCH_CPP_LOG_LEVEL=ERROR"]
        if self.plant:
            environment += [f"PYTHONPATH={PLANTS}:{ROOT}", f"MCX_PLANT={self.plant}"]
        values: dict[str, Any] = {
            "command": "train",
            "command_config": [str(config)],
            "run_dir": str(self.output),
            "resources": {"nodes": 2, "tasks_per_node": 1, "time_minutes": 30},
            "restarts": {"signal_lead_s": 60},
            "preflight": False,
            "environment": environment,
        }
        for name, value in self.launch.items():
            values[name] = values[name] | value if isinstance(value, dict) else value
        path = self.output.with_suffix(".launch.yaml")
        path.write_text(json.dumps(values))
        command = [sys.executable, ROOT / "tools/launch.py", "submit", "--config", path]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    def history(self) -> list[list[str]]:
        """[time, job, task, restarts, event, detail] of what has happened to the job."""
        path = self.output / "launch" / f"{self.output.name}.history"
        return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []

    def events(self) -> list[str]:
        """started, requeued, ... in order."""
        return [line[4] for line in self.history()]

    @property
    def job(self) -> str:
        """Its number."""
        return self.history()[-1][1]

    def state(self) -> str:
        """SLURM's word for the job; empty once it is forgotten."""
        asked = ["squeue", "--noheader", "--states=all", f"--job={self.job}", "--format=%T"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()

    def log(self) -> str:
        """What its jobs have printed."""
        return "".join(path.read_text(errors="replace") for path in sorted((self.output / "launch").glob("*.out")))

    def written_at(self, *names: str) -> float:
        """When a file of the run was written last, seconds of the Unix clock."""
        return self.output.joinpath(*names).stat().st_mtime

    def beat(self, rank: int) -> Heartbeat | None:
        """A rank's last sign of life."""
        try:
            return Heartbeat(**json.loads(heartbeat_path(self.output, rank).read_bytes()))
        except (OSError, ValueError):
            return None

    def num_steps(self) -> int:
        """Steps done, by metrics.jsonl."""
        path = self.output / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for_step(self, step: int) -> Heartbeat:
        """Until so many steps are done; rank 1's sign of life."""
        wait_for(f"step {step}", lambda: self.num_steps() >= step)
        return wait_for("a heartbeat", lambda: self.beat(1))  # type: ignore[no-any-return]

    def wait_for_restart(self, before: Heartbeat) -> None:
        """Until another attempt than that of `before` has trained a step."""

        def is_training() -> bool:
            beat = self.beat(0)
            return beat is not None and beat.attempt != before.attempt and beat.step > 0

        wait_for("a restart", is_training)

    def wait_for_event(self, event: str, *, timeout_s: float = WAIT_S) -> list[str]:
        """Until the job's history since `submit` has it; its line. Not beyond a failure for good."""

        def reached() -> list[str] | None:
            found = {line[4]: line for line in reversed(self.history()[self._before :])}
            assert event in found or "failed" not in found, f"{self.output.name} failed: {found['failed'][5]}"
            return found.get(event)

        return wait_for(event, reached, timeout_s=timeout_s)  # type: ignore[no-any-return]

    def resumed_at(self) -> list[int]:
        """Steps of the checkpoints that the job's starts have continued from."""
        return [int(step) for step in re.findall(r"continuing from .*/step_(\d+)", self.log())]


def processes_of_run(run: ClusterRun, word: str) -> list[int]:
    """Numbers of the processes of a run that have this word among those of their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                of_run = f"MCX_RUN_DIR={run.output}".encode()
                if of_run in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def processes_of_node(node: str) -> list[int]:
    """Numbers of the processes that a node's jobs have, and of the slurmstepd that started them."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if f"SLURMD_NODENAME={node}".encode() in environment:
                found.append(int(entry.name))
                if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.append(parent)
        except OSError:
            continue
    return sorted(set(found))
