"""MBPP: reference solutions pass, empty bodies do not. By hand, for all 974 at both levels:

python tests/sandbox/test_mbpp.py [PROBLEMS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures, probe_kernel
from megatron_codex.sandbox.program import Program

MBPP = Path(__file__).parents[1] / "fixtures" / "mbpp.jsonl.gz"
HANDS_OVER = ("MBPP/367", "MBPP/533", "MBPP/601", "MBPP/927")
"""Objects of a class of the prompt, and a type."""
TIMEOUT_S = 20.0
"""The slowest reference (MBPP/123) used 6.3 s of CPU time on a machine with much else to do."""


def judge_all(problems: list[Problem], level: str, features: KernelFeatures) -> tuple[list[str], list[str]]:
    """What went wrong with references and with empty bodies."""
    found = features if level == "A" else features.without_namespaces()
    with JudgePool(2, timeout_s=TIMEOUT_S, allow_level_b=True, features=found) as pool:
        right = dict(pool.judge(Program.of(problem, problem.canonical_solution) for problem in problems))
        empty = dict(pool.judge(Program.of(problem, "    pass\n") for problem in problems))
    assert len(right) == len(empty) == len(problems)
    return (
        [f"{problems[index].task_id}: {verdict}" for index, verdict in right.items() if not verdict.passed],
        [f"{problems[index].task_id}: {v}" for index, v in empty.items() if v.verdict not in ("wrong", "error")],
    )


@pytest.mark.parametrize("level", ["A", "B"])
def test_references_pass_and_empty_bodies_do_not(level: str, features: KernelFeatures) -> None:
    if level == "A" and features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    problems = read_problems(MBPP)
    assert len(problems) == 974
    some = [each for number, each in enumerate(problems) if number % 8 == 0 or each.task_id in HANDS_OVER]
    assert {each.task_id for each in some} >= set(HANDS_OVER)
    assert judge_all(some, level, features) == ([], [])


if __name__ == "__main__":
    mbpp = read_problems(sys.argv[1] if len(sys.argv) > 1 else MBPP)
    for name in ("A", "B"):
        wrong, passing = judge_all(mbpp, name, probe_kernel())
        num_passed = len(mbpp) - len(wrong)
        print(f"level {name}: {num_passed} of {len(mbpp)} references pass, {len(passing)} empty bodies do not fail")
        print(*wrong, *passing, sep="\n", end="\n" if wrong or passing else "")
