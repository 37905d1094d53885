"""Events of nodes, disks and files: nodes lost, unlike the others, full or read-only disks, damaged checkpoints."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from megatron_codex.heartbeat import Heartbeat
from megatron_codex.model.checkpoint_files import step_directories
from tests.launch.cluster_run import ClusterRun, wait_for
from tests.launch.disturbed import AT, Disturbed, Row, scontrol


def node_lost_with_a_spare(jobs: Disturbed) -> Row:
    run = jobs.run("node_lost")
    try:
        return jobs.restarted("kill -9 of a node, with a spare", run, lambda beat: jobs.kill_node("node2"))
    finally:
        jobs.revive("node2")


def node_lost_without_a_spare(jobs: Disturbed) -> Row:
    scontrol("update", "NodeName=node3", "State=drain", "Reason=matrix")
    run = jobs.run("node_lost_alone")

    def act(beat: Heartbeat) -> None:
        jobs.kill_node("node2")
        wait_for("pending", lambda: run.state() in ("PENDING", "COMPLETING", "REQUEUED"))
        jobs.revive("node2")

    try:
        return jobs.restarted("kill -9 of a node, without a spare", run, act)
    finally:
        jobs.revive("node2")
        scontrol("update", "NodeName=node3", "State=resume")


def other_package(jobs: Disturbed) -> Row:
    return _bad_node(jobs, "another package version on a node", "package", "node2 packages: numpy 9.9.9")


def other_clock(jobs: Disturbed) -> Row:
    return _bad_node(jobs, "a node whose clock is 100 s ahead", "clock", "node2 clock: its clock is 100.0 s ahead")


def _bad_node(jobs: Disturbed, event: str, plant: str, said: str) -> Row:
    """Found by preflight, before a step; node2 is kept out."""
    run = jobs.run(f"bad_node_{plant}", plant=plant, launch={"preflight": True})
    started = wait_for("a start", lambda: run.events() and time.monotonic())
    named = run.wait_for_event("requeued")[5]
    detected_s = time.monotonic() - started
    wait_for("a step", lambda: run.num_steps() > 0)
    restarted_s = time.monotonic() - started
    run.wait_for_event("done")
    assert said in named, named
    assert [line[5] for line in run.history() if line[4] == "started"] == ["on node[1-2]", "on node[1,3]"]
    return Row(event, detected_s, restarted_s, 0, named)


def checkpoint_cut_short(jobs: Disturbed) -> Row:
    def damage(newest: Path) -> None:
        os.truncate(next(newest.glob("*.safetensors")), 1000)

    return _between_starts(jobs, "kill -9, and the newest checkpoint is cut short", "cut_short", damage)


def checkpoint_removed(jobs: Disturbed) -> Row:
    return _between_starts(jobs, "kill -9, and the newest checkpoint is removed", "removed", shutil.rmtree)


def _between_starts(jobs: Disturbed, event: str, name: str, damage: Callable[[Path], None]) -> Row:
    """What is done to the newest checkpoint while the job waits in the queue."""
    run = jobs.run(name)

    def act(beat: Heartbeat) -> None:
        os.kill(beat.pid, signal.SIGKILL)
        run.wait_for_event("requeued")
        damage(step_directories(run.output / "checkpoints")[-1])

    row = jobs.restarted(event, run, act)
    row.named = next(line for line in run.log().splitlines() if "taking the checkpoint before it" in line)
    return row


def full_disk(jobs: Disturbed) -> Row:
    """The checkpoints' disk fills up; room is made, and the same command given again."""
    run = jobs.new("full_disk")
    with _small_disk(run) as checkpoints:
        filler = checkpoints / "filler"

        def fill() -> None:
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=1M"], check=False, capture_output=True)

        return _disk_fails(jobs, run, "a full disk", fill, filler.unlink)


def read_only_disk(jobs: Disturbed) -> Row:
    """The checkpoints' disk becomes read-only; then it is not, and the same command is given again."""
    run = jobs.new("read_only_disk")
    with _small_disk(run) as checkpoints:

        def become(what: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{what}", checkpoints], check=True)

        try:
            return _disk_fails(jobs, run, "a read-only disk", lambda: become("ro"), lambda: become("rw"))
        finally:
            become("rw")


def _disk_fails(
    jobs: Disturbed, run: ClusterRun, event: str, fail: Callable[[], object], mend: Callable[[], object]
) -> Row:
    run.submit()
    run.wait_for_step(AT)
    started = time.monotonic()
    fail()
    run.wait_for_event("failed")
    detected_s, done = time.monotonic() - started, run.num_steps()
    named = next(line for line in run.log().splitlines() if line.startswith("error: "))
    mend()
    return jobs.given_again(run, Row(event, detected_s, None, 0, named), done=done)


@contextmanager
def _small_disk(run: ClusterRun) -> Iterator[Path]:
    """A disk of the checkpoints' own, whose files stay."""
    checkpoints = run.output / "checkpoints"
    checkpoints.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", checkpoints], check=True)
    try:
        yield checkpoints
    finally:
        shutil.copytree(checkpoints, run.output / "copy", symlinks=True)
        subprocess.run(["umount", checkpoints], check=True)
        checkpoints.rmdir()
        (run.output / "copy").rename(checkpoints)


EVENTS: tuple[Callable[[Disturbed], Row], ...] = (
    node_lost_with_a_spare,
    node_lost_without_a_spare,
    other_package,
    other_clock,
    checkpoint_cut_short,
    checkpoint_removed,
    full_disk,
    read_only_disk,
)
