"""What tracing costs: CPU of a suite untraced, under each engine, and under a plain callback that pickles every call.

    python -m tests.benchmarks.tracing DIRECTORY [--rounds 3] [--python PYTHON] [--tests FILE ...] [--ways WAY ...]

Runs each unpacked project's suite in this process's own children, in turn, WITHOUT a sandbox: name only projects that
you trust. A pair is a distinct (function, arguments, outcome), 50 of a function at most, as many as the tracer takes:
the plain callback, which has no end, goes on pickling what nobody needs. What a pair costs is (CPU - CPU untraced) /
pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).resolve().parents[2]
_CHILD = Path(__file__).with_name("tracing_child.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("projects", nargs="+", type=Path, help="unpacked projects, each with tests/ or test*.py")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is run, in turn")
    parser.add_argument("--python", default=sys.executable, help="interpreter to run the suites with")
    parser.add_argument("--tests", nargs="*", default=[], help="test files to run, below each project; default: all")
    parser.add_argument("--ways", nargs="*", default=[], help="none, engines' names, pickling; default: all of them")
    arguments = parser.parse_args()
    for project in arguments.projects:
        _compare(project.resolve(), arguments)


def _compare(project: Path, arguments: argparse.Namespace) -> None:
    python, rounds, tests = arguments.python, arguments.rounds, arguments.tests
    ways = arguments.ways or ["none", *_child(project, python, "engines", tests)["engines"], "pickling"]
    results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            results[way].append(_child(project, python, way, tests))
    base = statistics.median(each["cpu_s"] for each in results["none"])
    print(f"{project.name}, Python {results['none'][0]['python']}, {results['none'][0]['passed']} tests pass:")
    for way in ways:
        cpu = statistics.median(each["cpu_s"] for each in results[way])
        pairs = results[way][-1]["pairs"]
        cost = f"{1e3 * (cpu - base) / pairs:8.3f} ms a pair" if pairs else ""
        passed = results[way][-1]["passed"]
        print(f"  {way:10} {cpu:7.2f} s CPU {cpu / base:6.2f}x {pairs:7} pairs {cost} ({passed} pass)", flush=True)


def _child(project: Path, python: str, way: str, tests: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        # The children's own PYTHONPATH goes first: pytest for another interpreter may be there.
        paths = [str(_REPOSITORY), str(project), str(project / "src"), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, paths)), "PYTHONHASHSEED": "0"}
        command = [python, "-P", "-B", str(_CHILD), way, str(project), directory, *tests]
        run = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"{project}: the suite did not run ({way}):\n{run.stdout[-800:]}{run.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
        return result


if __name__ == "__main__":
    main()
