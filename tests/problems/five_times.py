"""Every problem's own solution against its own tests, five times, each in fresh processes with other hash seeds.

Run: python -m tests.problems.five_times problems.jsonl [--times 5] [--workers 2]. Prints how many passed each time and
names those that did not; exit code 1 if any failed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from megatron_codex.errors import WorkError, run_command
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program


def passes(problems: Sequence[Problem], *, times: int, workers: int | None) -> tuple[Counter[str], dict[str, str]]:
    """(task_id -> times passed, task_id -> last fault). Every time has a pool of its own, whose workers draw a seed."""
    passed, faults = Counter({problem.task_id: 0 for problem in problems}), {}
    for _ in range(times):
        with JudgePool(workers) as pool:
            programs = (Program.of(problem, problem.canonical_solution) for problem in problems)
            for index, verdict in pool.judge(programs):
                task_id = problems[index].task_id
                passed[task_id] += verdict.passed
                if not verdict.passed:
                    faults[task_id] = f"{verdict.verdict}: {verdict.detail}"
    return passed, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    problems = list(read_problems(arguments.problems))
    passed, faults = passes(problems, times=arguments.times, workers=arguments.workers)
    for task_id, fault in faults.items():
        print(f"{task_id}: passed {passed[task_id]} of {arguments.times} times: {fault}")
    always = sum(number == arguments.times for number in passed.values())
    print(f"{always} of {len(problems)} problems passed {arguments.times} of {arguments.times} times")
    if always < len(problems):
        raise WorkError(f"{len(problems) - always} problems did not always pass")


if __name__ == "__main__":
    run_command(main)
