"""Events of single processes: ranks that are killed, stopped, slowed or told to end, srun, the watchdog."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from megatron_codex.heartbeat import Heartbeat
from tests.launch.cluster_run import ClusterRun, processes_of_run, wait_for
from tests.launch.disturbed import AT, STEPS, Disturbed, Row, scontrol
from tests.parallel.jobs import metrics

SIGKILL = signal.SIGKILL
_HANG = {"hang_timeout_s": 10.0}


def rank_killed(jobs: Disturbed) -> Row:
    run = jobs.run("rank_killed")
    return jobs.restarted("kill -9 of rank 1", run, lambda beat: os.kill(beat.pid, SIGKILL))


def first_rank_killed(jobs: Disturbed) -> Row:
    run = jobs.run("first_rank_killed")
    return jobs.restarted("kill -9 of rank 0", run, lambda beat: os.kill(_pid(run, 0), SIGKILL))


def both_ranks_killed(jobs: Disturbed) -> Row:
    run = jobs.run("both_ranks_killed")

    def act(beat: Heartbeat) -> None:
        for pid in (beat.pid, _pid(run, 0)):
            os.kill(pid, SIGKILL)

    return jobs.restarted("kill -9 of both ranks", run, act)


def srun_killed(jobs: Disturbed) -> Row:
    run = jobs.run("srun_killed")

    def act(beat: Heartbeat) -> None:
        for pid in processes_of_run(run, "srun"):
            os.kill(pid, SIGKILL)

    return jobs.restarted("kill -9 of the script's srun", run, act)


def watchdogs_killed(jobs: Disturbed) -> Row:
    run = jobs.run("watchdogs_killed")

    def act(beat: Heartbeat) -> None:
        found = processes_of_run(run, "megatron_codex.launch.watchdog")
        assert len(found) == 2, found
        for pid in found:
            os.kill(pid, SIGKILL)

    return jobs.undisturbed("kill -9 of both watchdogs", run, act)


def heartbeats_removed(jobs: Disturbed) -> Row:
    """For longer than a rank may be silent."""
    run = jobs.run("heartbeats_removed", training=_HANG, steps=jobs.steps_of(40.0))

    def act(beat: Heartbeat) -> None:
        for path in (run.output / "heartbeats").iterdir():
            path.unlink()
        (run.output / "heartbeats").rmdir()

    return jobs.undisturbed("the heartbeats' directory is removed", run, act)


def killed_in_a_save(jobs: Disturbed) -> Row:
    return _in_a_save(jobs, "kill -9 within a synchronous save", "killed_in_save", SIGKILL, asynchronous=False)


def killed_in_an_asynchronous_save(jobs: Disturbed) -> Row:
    return _in_a_save(jobs, "kill -9 within an asynchronous save", "killed_in_background", SIGKILL, asynchronous=True)


def stopped_in_a_save(jobs: Disturbed) -> Row:
    event = "SIGSTOP of a rank within a save"
    return _in_a_save(jobs, event, "stopped_in_save", signal.SIGSTOP, asynchronous=False, **_HANG)


def _in_a_save(
    jobs: Disturbed, event: str, name: str, number: signal.Signals, *, asynchronous: bool, **training: Any
) -> Row:
    run = jobs.run(name, training={"asynchronous_saves": asynchronous, "save_interval": 5} | training)

    def act(beat: Heartbeat) -> None:
        folder = run.output / "checkpoints"
        wait_for("a save", lambda: any(folder.glob(".step_*.tmp")))
        os.kill(beat.pid, number)

    row = jobs.restarted(event, run, act)
    return _with_report(run, row) if number == signal.SIGSTOP else row


def stopped_rank(jobs: Disturbed) -> Row:
    run = jobs.run("stopped_rank", training=_HANG)
    row = jobs.restarted("SIGSTOP of a rank", run, lambda beat: os.kill(beat.pid, signal.SIGSTOP))
    return _with_report(run, row)


def _with_report(run: ClusterRun, row: Row) -> Row:
    (report,) = (run.output / "launch" / "hangs").glob("*.txt")
    row.named = report.read_text().splitlines()[2]
    assert "behind: rank 1 (node2) is stopped (state T" in row.named, row.named
    return row


def slow_rank(jobs: Disturbed) -> Row:
    """It computes a fifth of the time, for a while."""
    run = jobs.run("slow_rank", training={"straggler_factor": 2.5})
    beat = run.wait_for_step(AT)
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
    said = f"rank {found[0]['rank']} ({found[0]['node']}) in metrics.jsonl"
    return Row("a rank with a fifth of its processor", detected_s, None, 0, said)


def requeued(jobs: Disturbed) -> Row:
    run = jobs.run("requeued")
    return jobs.restarted("scontrol requeue", run, lambda beat: scontrol("requeue", run.job))


def told_twice(jobs: Disturbed) -> Row:
    run = jobs.run("told_twice")

    def act(beat: Heartbeat) -> None:
        for _ in range(2):
            os.kill(beat.pid, signal.SIGTERM)

    return jobs.restarted("SIGTERM to a rank, twice", run, act)


def time_limit(jobs: Disturbed) -> Row:
    """Three warnings before the time limit: a checkpoint and a requeue each."""
    launch = {
        "resources": {"nodes": 2, "tasks_per_node": 1, "time_minutes": 1},
        "restarts": {"signal_lead_s": 40, "max_requeues": 50},
    }
    run = jobs.run("time_limit", launch=launch, training={"save_interval": 0}, steps=4 * STEPS)
    run.wait_for_event("done", timeout_s=900.0)
    assert run.events().count("requeued") >= 3, run.events()
    lines = run.history()
    told, queued = (_times(lines, event) for event in ("told", "requeued"))
    again = _times(lines, "started")[1:]
    detected_s = max(after - before for before, after in zip(told, queued, strict=False))
    restarted_s = max(after - before for before, after in zip(told, again, strict=False))
    said = next(line[5] for line in lines if line[4] == "requeued")
    return Row(f"the time limit, {len(queued)} times (the longest)", detected_s, restarted_s, 0, said)


def _times(lines: list[list[str]], event: str) -> list[float]:
    return [time.mktime(time.strptime(line[0], "%Y-%m-%dT%H:%M:%SZ")) for line in lines if line[4] == event]


def bad_gradient(jobs: Disturbed) -> Row:
    return _planted(jobs, "a NaN in a rank's gradient", "bad_gradient")


def raising_rank(jobs: Disturbed) -> Row:
    return _planted(jobs, "an exception in one rank", "raises")


def _planted(jobs: Disturbed, event: str, plant: str) -> Row:
    """A fault of the program or its data in rank 1; the same command given again, without it."""
    run = jobs.run(plant, plant=plant)
    run.wait_for_event("failed")
    detected_s = run.written_at("launch", f"{plant}.history") - run.written_at("metrics.jsonl")
    line = next((line for line in run.log().splitlines() if line.startswith("error: ")), run.history()[-1][5])
    run.plant = ""
    return jobs.given_again(run, Row(event, detected_s, None, 0, line), done=run.num_steps())


def _pid(run: ClusterRun, rank: int) -> int:
    beat = run.beat(rank)
    assert beat is not None, rank
    return beat.pid


EVENTS: tuple[Callable[[Disturbed], Row], ...] = (
    rank_killed,
    first_rank_killed,
    both_ranks_killed,
    srun_killed,
    watchdogs_killed,
    heartbeats_removed,
    killed_in_a_save,
    killed_in_an_asynchronous_save,
    stopped_in_a_save,
    stopped_rank,
    slow_rank,
    requeued,
    told_twice,
    time_limit,
    bad_gradient,
    raising_rank,
)
