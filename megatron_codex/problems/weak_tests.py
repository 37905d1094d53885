"""Problems whose tests a body passes that solves nothing.

In: problems. Out: task_id -> the trivial body (trivial.py) that passes. Each is judged once.
"""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.config.problems import FilterConfig
from megatron_codex.log import progress
from megatron_codex.problems.functions import NotSplit
from megatron_codex.problems.trivial import trivial_bodies_of
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program


def find_weak_tests(problems: Sequence[Problem], config: FilterConfig) -> dict[str, str]:
    """Of functions; scripts have no such bodies. Raises: WorkError when this machine cannot isolate programs."""
    tries = [(problem, name, body) for problem in problems for name, body in _bodies(problem).items()]
    if not tries:
        return {}
    weak: dict[str, str] = {}
    with JudgePool(
        config.workers,
        timeout_s=config.timeout_s,
        memory_bytes=config.memory_bytes,
        allow_level_b=config.allow_level_b,
    ) as pool:
        programs = (Program.of(problem, body) for problem, _, body in tries)
        judged = progress(pool.judge(programs), total=len(tries), description="trivial bodies", unit="programs")
        passed = sorted(position for position, verdict in judged if verdict.passed)
    for position in passed:
        problem, name, _ = tries[position]
        weak.setdefault(problem.task_id, name)
    return weak


def _bodies(problem: Problem) -> dict[str, str]:
    try:
        return trivial_bodies_of(problem) if problem.entry_point else {}
    except NotSplit:
        return {}
