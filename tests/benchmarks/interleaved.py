"""Sides of a comparison, each a process of its own, that take turns: what the machine does meanwhile hits all alike.

In: the sides' commands. Out: what each said of each of its steps, warm-up left out. A side is a program that calls
`serve` with its step.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

Found = dict[str, float]
"""What a step is told of: "seconds" and "processor" (seconds of all threads), and what the side adds."""


def interleave(
    commands: Mapping[str, Sequence[str]], *, rounds: int, warm_up: int, threads: int
) -> dict[str, list[Found]]:
    """A step of each side a round, in turns; the order turns round every time."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    sides = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for name, command in commands.items()
    }
    found: dict[str, list[Found]] = {name: [] for name in sides}
    names = list(sides)
    try:
        for number in range(warm_up + rounds):
            for name in names if number % 2 else names[::-1]:
                found[name].append(_ask(sides[name]))
        for side in sides.values():
            side.communicate("\n", timeout=60)
    finally:
        for side in sides.values():
            side.kill()
    return {name: steps[warm_up:] for name, steps in found.items()}


def _ask(side: subprocess.Popen[str]) -> Found:
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write("step\n")
    side.stdin.flush()
    while line := side.stdout.readline():
        if line.startswith("{"):
            return dict(json.loads(line))
    raise AssertionError(f"{side.args!r} ended with {side.wait()}")


def serve(step: Callable[[], Found]) -> None:
    """Be a side: a step for each line, until an empty one."""
    while sys.stdin.readline().strip():
        started, used = time.perf_counter(), time.process_time()
        more = step()
        answer({"seconds": time.perf_counter() - started, "processor": time.process_time() - used, **more})


def answer(found: Found) -> None:
    """Tell what a step has found."""
    print(json.dumps(found), flush=True)


def spread(values: Sequence[float]) -> str:
    """Median, and between which values."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"
