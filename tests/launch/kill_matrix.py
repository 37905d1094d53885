"""Every event of docs/cluster.md's table, done to a job on a real SLURM; each must end with the undisturbed weights.

By hand, as root (it mounts small disks), in half an hour: python -m tests.launch.kill_matrix [EVENT ...]

Two gloo ranks on two of three nodes, with dropout, a checkpoint every 25 steps. Of each event: seconds until it was
detected (a line of the job's history, or SLURM no longer calls it running), seconds until a step was trained again,
steps done twice, and whether weights, optimizer state and losses are bitwise those of the run left alone. Exit code 1
when any is not, when an event was not named as it should be, or when SLURM has taken a node out of service.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.launch import node_events, process_events
from tests.launch.disturbed import Disturbed, Row, drained_nodes
from tests.parallel.jobs import write_data
from tests.slurm_cluster import running_cluster
from tests.training.kill_at_random import difference

EVENTS = process_events.EVENTS + node_events.EVENTS
_HEAD = """\
| event | detected after s | trains again after s | steps done twice | weights | said by |
| --- | --- | --- | --- | --- | --- |"""


def main() -> int:
    """Run the events and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("events", nargs="*", help=f"of {', '.join(event.__name__ for event in EVENTS)} (default: all)")
    parser.add_argument("--work", type=Path, default=None, help="directory for the runs (default: a temporary one)")
    arguments = parser.parse_args()
    known = {event.__name__: event for event in EVENTS}
    if unknown := [name for name in arguments.events if name not in known]:
        parser.error(f"no such event: {', '.join(unknown)}")
    chosen = [known[name] for name in arguments.events] or list(EVENTS)
    num_faults = 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the cluster's end is not left out
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        write_data(work)
        (work / "slurm").mkdir()
        with running_cluster(work / "slurm", num_nodes=3) as cluster:
            os.environ["SLURM_CONF"] = str(work / "slurm" / "slurm.conf")
            jobs = Disturbed(cluster, work)
            jobs.run("whole").wait_for_event("done")
            print(_HEAD, flush=True)
            for event in chosen:
                num_faults += _do(jobs, event)
    return 1 if num_faults else 0


def _do(jobs: Disturbed, event: Callable[[Disturbed], Row]) -> bool:
    """Print the event's row; whether something is wrong."""
    before = set(jobs.work.iterdir())
    try:
        row = event(jobs)
    except (TimeoutError, AssertionError, subprocess.CalledProcessError) as error:
        print(f"| {event.__name__} | FAILED: {error} |", flush=True)
        subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)
        return True
    (output,) = (path for path in set(jobs.work.iterdir()) - before if path.is_dir())
    differs = difference(_whole(jobs, output), output)
    seconds = [f"{value:.0f}" if value is not None else "-" for value in (row.detected_s, row.restarted_s)]
    equal = "equal" if differs is None else f"DIFFER: {differs}"
    print(f"| {row.event} | {' | '.join(seconds)} | {row.steps_lost} | {equal} | {row.named} |", flush=True)
    drained = drained_nodes()
    if drained:
        print(f"| {event.__name__} | FAILED: out of service: {drained} |", flush=True)
    return differs is not None or bool(drained)


def _whole(jobs: Disturbed, output: Path) -> Path:
    """A run of as many steps that was left alone."""
    steps = json.loads(output.with_suffix(".train.yaml").read_text())["training"]["train_iters"]
    whole = jobs.work / ("whole" if steps == jobs.new("whole").steps else f"whole_{steps}")
    if not whole.exists():
        jobs.run(whole.name, steps=steps, training={"save_interval": 0}).wait_for_event("done", timeout_s=900.0)
    return whole


if __name__ == "__main__":
    sys.exit(main())
