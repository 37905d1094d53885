"""A job that something is done to while it trains: what was seen of it, as a row of the table of docs/cluster.md.

In: a cluster of three nodes, a folder with data, and the event. Out: a Row, and the run's files, which
tests/launch/kill_matrix.py compares with those of a run that was left alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_codex.heartbeat import Heartbeat
from tests.launch.cluster_run import ClusterRun, processes_of_node, wait_for
from tests.parallel.jobs import metrics
from tests.slurm_cluster import SlurmCluster, start_node

STEPS = 300
AT = 60
"""Steps done when an event comes."""

Act = Callable[[Heartbeat], object]
"""Does the event, given rank 1's last sign of life."""


@dataclass
class Row:
    """A line of the table."""

    event: str
    detected_s: float | None
    """Until a line of the job's history, or SLURM no longer calls it running."""
    restarted_s: float | None
    """Until a step was trained again."""
    steps_lost: int
    """Steps done twice: they were in no checkpoint."""
    named: str
    """What said so."""


@dataclass
class Disturbed:
    """Jobs of two ranks on two of three nodes."""

    cluster: SlurmCluster
    work: Path

    def new(self, name: str, **settings: Any) -> ClusterRun:
        """A run that is not in the queue yet."""
        return ClusterRun(**{"data": self.work, "output": self.work / name, "steps": STEPS} | settings)

    def run(self, name: str, **settings: Any) -> ClusterRun:
        """A run in the queue."""
        run = self.new(name, **settings)
        run.submit()
        return run

    def steps_of(self, seconds: float) -> int:
        """Steps that take so long, by the run left alone."""
        took = [line["step_time_s"] for line in metrics(self.work / "whole")][20:]
        return int(seconds / (sum(took) / len(took)))

    def restarted(self, event: str, run: ClusterRun, act: Act, *, at: int = AT) -> Row:
        """Do it to a run that trains; see it detected, started again, and done."""
        before = run.wait_for_step(at)
        num_events = len(run.events())
        started, done = time.monotonic(), run.num_steps()
        act(before)
        wait_for(event, lambda: len(run.events()) > num_events or run.state() != "RUNNING")
        detected_s = time.monotonic() - started
        run.wait_for_restart(before)
        restarted_s = time.monotonic() - started
        run.wait_for_event("done")
        told = next((line for line in run.history()[num_events:] if line[4] != "started"), None)
        resumed = run.resumed_at()[-1] if run.resumed_at() else 0
        return Row(event, detected_s, restarted_s, max(0, done - resumed), told[5] if told else "SLURM: node failure")

    def undisturbed(self, event: str, run: ClusterRun, act: Act, *, at: int = AT) -> Row:
        """Do it to a run that trains, which must not mind."""
        act(run.wait_for_step(at))
        run.wait_for_event("done")
        assert run.events() == ["started", "done"], run.history()
        return Row(event, None, None, 0, "nobody: the run goes on")

    def given_again(self, run: ClusterRun, row: Row, *, done: int) -> Row:
        """The same command once more, after a failure that has been mended."""
        run.submit()
        run.wait_for_event("done")
        row.steps_lost = max(0, done - run.resumed_at()[-1])
        return row

    def kill_node(self, node: str) -> None:
        """Its daemon and all that its jobs have there."""
        daemon = self.cluster.daemons[node]
        daemon.kill()
        for pid in processes_of_node(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def revive(self, node: str) -> None:
        """Start its daemon where it was killed."""
        if self.cluster.daemons[node].poll() is None:
            return
        self.cluster.daemons[node] = start_node(self.cluster, node)
        wait_for(f"{node} idle or at work", lambda: _node_state(node) in ("idle", "mixed", "allocated"))


def scontrol(*words: str) -> None:
    """Ask SLURM's controller for something."""
    subprocess.run(["scontrol", *words], check=True, capture_output=True)


def drained_nodes() -> str:
    """Nodes that SLURM no longer gives jobs, with its reason; empty when all is well."""
    asked = ["sinfo", "--noheader", "--list-reasons", "--partition=all", "--format=%n %T %E"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _node_state(node: str) -> str:
    asked = ["sinfo", "--noheader", "--Node", f"--nodes={node}", "--format=%T", "--partition=all"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip().rstrip("*")
