"""Every event that docs/failures.md names, done to a job on a real SLURM; each must end with the undisturbed weights.

By hand, as root (it mounts a small disk), in a quarter of an hour: python -m tests.launch.kill_matrix [EVENT ...]

Two gloo ranks on two of three nodes, with dropout, a checkpoint every 25 steps. Of each event: seconds until it was
detected (a line of the job's history, or SLURM no longer calls it running), seconds until a step was trained again,
steps done twice, and whether weights, optimizer state and losses are bitwise those of the run left alone. Exit code 1
when any is not, or an event was not named as it should be.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.launch.cluster_run import ClusterRun, processes_of_node, wait_for
from tests.parallel.jobs import metrics, write_data
from tests.slurm_cluster import SlurmCluster, running_cluster, start_node
from tests.training.kill_at_random import difference

STEPS = 300
_AT = 60
"""Steps done when an event comes."""


@dataclass
class Row:
    """A line of the table."""

    event: str
    detected_s: float | None
    restarted_s: float | None
    steps_lost: int
    named: str
    """What said so."""


@dataclass
class Matrix:
    """The events, each a method that gives its row."""

    cluster: SlurmCluster
    work: Path

    def run(self, name: str, **settings: Any) -> ClusterRun:
        """A run of this matrix, in the queue."""
        run = ClusterRun(**{"data": self.work, "output": self.work / name, "steps": STEPS} | settings)
        run.submit()
        return run

    def restarted(self, event: str, run: ClusterRun, act: Callable[[Any], None], *, at: int = _AT) -> Row:
        """Do it to a run that trains, and see it detected and started again."""
        before = run.wait_for_step(at)
        num_events = len(run.events())
        act(before)
        started, done = time.monotonic(), run.num_steps()
        wait_for(event, lambda: len(run.events()) > num_events or run.state() != "RUNNING")
        detected_s = time.monotonic() - started
        run.wait_for_restart(before)
        restarted_s = time.monotonic() - started
        run.wait_for_event("done")
        told = next((line for line in run.history()[num_events:] if line[4] != "started"), None)
        resumed = run.resumed_at()[-1] if run.resumed_at() else 0
        return Row(event, detected_s, restarted_s, max(0, done - resumed), told[5] if told else "SLURM: node failure")

    def rank_killed(self) -> Row:
        run = self.run("rank_killed")
        return self.restarted("kill -9 of a rank", run, lambda beat: os.kill(beat.pid, signal.SIGKILL))

    def node_lost_with_a_spare(self) -> Row:
        run = self.run("node_lost")
        row = self.restarted("kill -9 of a node, with a spare", run, lambda beat: self._kill_node("node2"))
        self._revive("node2")
        return row

    def node_lost_without_a_spare(self) -> Row:
        _scontrol("update", "NodeName=node3", "State=drain", "Reason=matrix")
        run = self.run("node_lost_alone")

        def act(beat: Any) -> None:
            self._kill_node("node2")
            wait_for("pending", lambda: run.state() in ("PENDING", "COMPLETING", "REQUEUED"))
            self._revive("node2")

        try:
            return self.restarted("kill -9 of a node, without a spare", run, act)
        finally:
            _scontrol("update", "NodeName=node3", "State=resume")

    def _kill_node(self, node: str) -> None:
        daemon = self.cluster.daemons[node]
        daemon.kill()
        for pid in processes_of_node(node):
            with _gone_is_fine():
                os.kill(pid, signal.SIGKILL)
        daemon.wait()

    def _revive(self, node: str) -> None:
        self.cluster.daemons[node] = start_node(self.cluster, node)
        wait_for(f"{node} idle or at work", lambda: _node_state(node) in ("idle", "mixed", "allocated"))

    def killed_in_a_save(self) -> Row:
        return self._killed_in_a_save("synchronous", asynchronous=False)

    def killed_in_an_asynchronous_save(self) -> Row:
        return self._killed_in_a_save("asynchronous", asynchronous=True)

    def _killed_in_a_save(self, kind: str, *, asynchronous: bool) -> Row:
        training = {"asynchronous_saves": asynchronous, "save_interval": 5}
        run = self.run(f"killed_in_{kind}_save", training=training)

        def act(beat: Any) -> None:
            folder = run.output / "checkpoints"
            wait_for("a save", lambda: any(folder.glob(".step_*.tmp")))
            os.kill(beat.pid, signal.SIGKILL)

        return self.restarted(f"kill -9 within a {kind} save", run, act)

    def requeued(self) -> Row:
        run = self.run("requeued")
        return self.restarted("scontrol requeue", run, lambda beat: _scontrol("requeue", run.job))

    def stopped_rank(self) -> Row:
        run = self.run("stopped_rank", training={"hang_timeout_s": 10.0})
        row = self.restarted("SIGSTOP of a rank", run, lambda beat: os.kill(beat.pid, signal.SIGSTOP))
        (report,) = (run.output / "launch" / "hangs").glob("*.txt")
        row.named = report.read_text().splitlines()[2]
        assert "behind: rank 1 (node2) is stopped (state T" in row.named, row.named
        return row

    def slow_rank(self) -> Row:
        """It computes a fifth of the time, for a while."""
        run = self.run("slow_rank", training={"straggler_factor": 2.5})
        beat = run.wait_for_step(_AT)
        started, first = time.monotonic(), run.num_steps()

        def named() -> list[Any]:
            for number, seconds in ((signal.SIGSTOP, 0.2), (signal.SIGCONT, 0.05)):
                os.kill(beat.pid, number)
                time.sleep(seconds)
            lines = metrics(run.output)[first:]
            return [found for line in lines for found in line.get("stragglers", ()) if found["rank"] == 1]

        found = wait_for("a name", named)
        detected_s = time.monotonic() - started
        run.wait_for_event("done")
        return Row("a slow rank", detected_s, None, 0, f"rank {found[0]['rank']} ({found[0]['node']}) in metrics.jsonl")

    def full_disk(self) -> Row:
        """The checkpoints' disk fills up; room is made, and the same command given again."""
        run = ClusterRun(data=self.work, output=self.work / "full_disk", steps=STEPS)
        checkpoints = run.output / "checkpoints"
        checkpoints.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", checkpoints], check=True)
        try:
            run.submit()
            run.wait_for_step(_AT)
            filler = checkpoints / "filler"
            started = time.monotonic()
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], check=False, capture_output=True)
            run.wait_for_event("failed")
            detected_s, done = time.monotonic() - started, run.num_steps()
            named = next(line for line in run.log().splitlines() if line.startswith("error: "))
            filler.unlink()
            return self._given_again(run, Row("a full disk", detected_s, None, 0, named), done=done)
        finally:
            shutil.copytree(checkpoints, run.output / "copy", symlinks=True)
            subprocess.run(["umount", checkpoints], check=True)
            checkpoints.rmdir()
            (run.output / "copy").rename(checkpoints)

    def bad_gradient(self) -> Row:
        """A NaN in one rank's gradient; the same command given again."""
        run = self.run("bad_gradient", plant="bad_gradient")
        run.wait_for_event("failed")
        named = next(line for line in run.log().splitlines() if line.startswith("error: "))
        row = Row("a NaN in a rank's gradient", None, None, 0, named)
        run.plant = ""
        return self._given_again(run, row, done=run.num_steps())

    def _given_again(self, run: ClusterRun, row: Row, *, done: int) -> Row:
        run.submit()
        run.wait_for_event("done")
        row.steps_lost = done - run.resumed_at()[-1]
        return row

    def other_package(self) -> Row:
        """Found by preflight, before a step; node2 is kept out."""
        started = time.monotonic()
        run = self.run("other_package", plant="package", launch={"preflight": True})
        named = run.wait_for_event("requeued")[5]
        detected_s = time.monotonic() - started
        run.wait_for_event("done")
        assert "node2" in (run.output / "launch" / "bad_nodes.txt").read_text()
        return Row("another package version on a node", detected_s, None, 0, named)

    def time_limit(self) -> Row:
        """Three warnings before the time limit: a checkpoint and a requeue each."""
        launch = {"resources": {"nodes": 2, "tasks_per_node": 1, "time_minutes": 1}, "restarts": {"signal_lead_s": 40}}
        run = self.run("time_limit", launch=launch, training={"save_interval": 0}, steps=self.long_steps())
        wait_for("the third requeue", lambda: run.events().count("requeued") >= 3, timeout_s=600)
        run.wait_for_event("done")
        told = [line for line in run.history() if line[4] == "requeued"]
        return Row(f"time limit, {len(told)} times", None, None, 0, told[0][5])

    def long_steps(self) -> int:
        """Steps that take two minutes, by the run left alone."""
        seconds = [line["step_time_s"] for line in metrics(self.work / "whole")]
        return int(120 / (sum(seconds[20:]) / len(seconds[20:])))


EVENTS: tuple[Callable[[Matrix], Row], ...] = (
    Matrix.rank_killed,
    Matrix.killed_in_a_save,
    Matrix.killed_in_an_asynchronous_save,
    Matrix.requeued,
    Matrix.stopped_rank,
    Matrix.slow_rank,
    Matrix.full_disk,
    Matrix.bad_gradient,
    Matrix.other_package,
    Matrix.node_lost_with_a_spare,
    Matrix.node_lost_without_a_spare,
    Matrix.time_limit,
)


def _scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True, capture_output=True)


def _node_state(node: str) -> str:
    asked = ["sinfo", "--noheader", "--Node", f"--nodes={node}", "--format=%T", "--partition=all"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip().rstrip("*")


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    with suppress(ProcessLookupError):
        yield


def main() -> int:
    """Run the events and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", nargs="*", help=f"of {', '.join(event.__name__ for event in EVENTS)} (default: all)")
    parser.add_argument("--work", type=Path, default=None, help="directory for the runs (default: a temporary one)")
    arguments = parser.parse_args()
    chosen = [event for event in EVENTS if not arguments.events or event.__name__ in arguments.events]
    num_faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        write_data(work)
        (work / "slurm").mkdir()
        with running_cluster(work / "slurm", num_nodes=3) as cluster:
            os.environ["SLURM_CONF"] = str(work / "slurm" / "slurm.conf")
            matrix = Matrix(cluster, work)
            matrix.run("whole").wait_for_event("done")
            print("| event | detected after s | restarted after s | steps done twice | weights | said |", flush=True)
            print("| --- | --- | --- | --- | --- | --- |", flush=True)
            for event in chosen:
                num_faults += _do(matrix, event)
    return 1 if num_faults else 0


def _do(matrix: Matrix, event: Callable[[Matrix], Row]) -> bool:
    """Print the event's row; whether something is wrong."""
    before = set(matrix.work.iterdir())
    try:
        row = event(matrix)
    except (TimeoutError, AssertionError, subprocess.CalledProcessError) as error:
        print(f"| {event.__name__} | FAILED: {error} |", flush=True)
        subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)
        return True
    (output,) = (path for path in set(matrix.work.iterdir()) - before if path.is_dir())
    whole = matrix.work / "whole"
    if event is Matrix.time_limit:
        whole = matrix.work / "whole_long"
        matrix.run(whole.name, steps=matrix.long_steps(), training={"save_interval": 0}).wait_for_event("done")
    differs = difference(whole, output)
    seconds = [f"{value:.0f}" if value is not None else "-" for value in (row.detected_s, row.restarted_s)]
    equal = "equal" if differs is None else f"DIFFER: {differs}"
    print(f"| {row.event} | {' | '.join(seconds)} | {row.steps_lost} | {equal} | {row.named} |", flush=True)
    return differs is not None


if __name__ == "__main__":
    sys.exit(main())
