"""Kill a 2 x 2 run with SIGKILL at random moments, saves included, and compare its end with a run left alone.

By hand: python -m tests.training.kill_at_random --kills 20 --seed 1 [--asynchronous] [--steps 60] [--work DIR]

TP2 x PP2 in four gloo ranks, a checkpoint every other step. Each time all ranks are killed at once and the run is then
started again with the same command. The moments: some while the ranks start; some at a time after their first step that
is drawn uniformly; and, as saves are short, some in the first milliseconds (drawn, too) of a save. What a kill met
(steps done, a checkpoint half-written) is printed. At the end weights, optimizer state and losses are compared bitwise
with those of a run that was left alone. Exit code 1 when they differ.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from megatron_codex.model.checkpoint_files import newest_checkpoint
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from tests.parallel.jobs import Job, metrics, prompted_job, write_data
from tests.parallel.ranks import TIMEOUT_S, end, start_ranks, train_jobs

WORLD_SIZE = 4
LAYOUT = {
    "tensor_model_parallel_size": 2,
    "pipeline_model_parallel_size": 2,
    "sequence_parallel": True,
}


@dataclass(frozen=True, kw_only=True)
class Kill:
    """What a SIGKILL met."""

    step: int
    """Lines of metrics.jsonl: steps done."""
    saving: bool
    """Whether a checkpoint was half-written."""


def job(directory: Path, name: str, *, steps: int, asynchronous: bool, parallel: dict[str, Any] | None = None) -> Job:
    """A run with dropout that saves every other step."""
    training = {
        "output_dir": str(directory / name),
        "train_iters": steps,
        "save_interval": 2,
        "eval_interval": 0,
        "asynchronous_saves": asynchronous,
    }
    model = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
    return prompted_job(directory, parallel=parallel or LAYOUT, training=training, model=model)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to kill: so many seconds after ..."""

    after: str
    """start, of the ranks; step, the first one after the start; save, the first one after a step and the delay."""
    seconds: float
    save_seconds: float = 0.0
    """save: after its directory appeared."""


def run(directory: Path, name: str, run_job: Job, *, world_size: int, moment: Moment | None = None) -> Kill | None:
    """Train `run_job`, or kill all its ranks at a moment: what was met, or None when the run ended before."""
    place, output = directory / name, Path(run_job["training"]["output_dir"])
    place.mkdir(exist_ok=True)
    (place / "jobs.json").write_text(json.dumps([run_job]))
    ranks = start_ranks(world_size, train_jobs, place)
    try:
        _wait(ranks, output, moment)
        running = any(process.is_alive() for process in ranks)
    finally:
        end(ranks)
    if running and moment is not None:
        lines = (output / "metrics.jsonl").read_bytes().count(b"\n") if _num_bytes(output) else 0
        return Kill(step=lines, saving=_is_saving(output))
    codes = [process.exitcode for process in ranks]
    assert codes == [0] * world_size, (place / "rank0.log").read_text()[-3000:]
    return None


def _wait(ranks: Sequence[ForkServerProcess], output: Path, moment: Moment | None) -> None:
    """Until the moment, or the end of all ranks."""
    deadline = time.monotonic() + TIMEOUT_S

    def until(reached: Callable[[], bool]) -> None:
        while any(process.is_alive() for process in ranks) and time.monotonic() < deadline and not reached():
            time.sleep(0.0005)

    def seconds(count: float) -> None:
        reached_at = time.monotonic() + count
        until(lambda: time.monotonic() >= reached_at)

    if moment is None:
        until(lambda: False)
        return
    started_with = _num_bytes(output)
    if moment.after != "start":
        until(lambda: _num_bytes(output) > started_with)
    seconds(moment.seconds)
    if moment.after == "save":
        until(lambda: not _is_saving(output))  # not what the kill before left
        until(lambda: _is_saving(output))
        seconds(moment.save_seconds)


def _is_saving(output: Path) -> bool:
    return any((output / "checkpoints").glob(".step_*.tmp"))


def _num_bytes(output: Path) -> int:
    metrics_file = output / "metrics.jsonl"
    return metrics_file.stat().st_size if metrics_file.exists() else 0


def difference(whole: Path, killed: Path) -> str | None:
    """The first thing in which two runs' ends differ, or None."""
    expected, found = (newest_checkpoint(run / "checkpoints") for run in (whole, killed))
    assert expected is not None and found is not None
    if expected.name != found.name:
        return f"the last checkpoint is {found.name}, not {expected.name}"
    there, here = CheckpointTensors(expected), CheckpointTensors(found)
    if there.names != here.names:
        return "the tensors' names"
    for name in there.names:
        if not torch.equal(there.read(name), here.read(name)):
            return name
    for one, other in zip(metrics(whole), metrics(killed), strict=True):
        for field in ("step", "loss", "grad_norm", "num_tokens"):
            if one[field] != other[field]:
                return f"{field} of step {one['step']}: {other[field]!r}, not {one[field]!r}"
    return None


def main() -> int:
    """Run, kill, run again; print what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--asynchronous", action="store_true")
    parser.add_argument("--work", type=Path, default=None, help="directory for the runs (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.work or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        write_data(directory)
        jobs = {
            name: job(directory, name, steps=arguments.steps, asynchronous=arguments.asynchronous)
            for name in ("whole", "killed")
        }
        run(directory, "whole_ranks", jobs["whole"], world_size=WORLD_SIZE)
        output = directory / "whole"
        seconds = (output / "manifest.json").stat().st_mtime - (output / "config.yaml").stat().st_mtime
        print(f"left alone: {arguments.steps} steps and {arguments.steps // 2} saves in {seconds:.1f} s", flush=True)
        kills = _kill(directory, jobs["killed"], seconds, arguments.kills, random.Random(arguments.seed))
        found = difference(directory / "whole", directory / "killed")
    print(f"{len(kills)} kills, {sum(kill.saving for kill in kills)} of them with a checkpoint half-written")
    print(
        "weights, optimizer state and losses are bitwise those of the run left alone"
        if not found
        else f"DIFFERS: {found}"
    )
    return 1 if found else 0


def _kill(directory: Path, killed: Job, steps_s: float, count: int, draw: random.Random) -> list[Kill]:
    """Kill `count` times, then let the run end."""
    kills: list[Kill] = []
    for number in range(count):
        after = draw.choices(["start", "step", "save"], weights=[1, 3, 4])[0]
        # What is left must last for the kills that are left.
        seconds = draw.uniform(0.0, 3.0) if after == "start" else draw.uniform(0.0, 1.4 * steps_s / count)
        moment = Moment(after=after, seconds=seconds, save_seconds=draw.uniform(0.0, 0.08))
        met = run(directory, "killed_ranks", killed, world_size=WORLD_SIZE, moment=moment)
        if met is None:
            print(f"  the run ended before kill {number + 1}: give more --steps")
            return kills
        kills.append(met)
        when = f"{seconds:.2f} s after the {'start' if after == 'start' else 'first step'}"
        when += f" and {moment.save_seconds * 1000:.0f} ms into a save" if after == "save" else ""
        what = "a checkpoint half-written" if met.saving else "between saves"
        print(f"  kill {number + 1}, {when}: {met.step} steps done, {what}", flush=True)
    run(directory, "killed_ranks", killed, world_size=WORLD_SIZE)
    return kills


if __name__ == "__main__":
    sys.exit(main())
