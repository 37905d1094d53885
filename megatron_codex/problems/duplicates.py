"""Problems that are one and the same: by their program, or by what it does.

In: problems. Out: those to keep, the first of each sort, whose provenance counts the others; and what was merged.
Same body: problems/bodies.py.
Same behaviour: each passes the other's tests (on arguments and results of the same types, to begin with).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from megatron_codex.problems.bodies import body_key
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program


@dataclass(frozen=True, kw_only=True)
class Merged:
    """reason: "duplicate by body" or "duplicate by behaviour"."""

    problem: Problem
    kept: str
    """The task_id that stands for it."""
    reason: str


def merge_duplicates(
    problems: Sequence[Problem], open_pool: Callable[[], JudgePool]
) -> tuple[list[Problem], list[Merged]]:
    """Raises: WorkError when this machine cannot isolate programs."""
    first: dict[str, Problem] = {}
    merged = []
    for problem in problems:
        kept = first.setdefault(body_key(problem), problem)
        if kept is not problem:
            merged.append(Merged(problem=problem, kept=kept.task_id, reason="duplicate by body"))
    different = list(first.values())
    same = _same_behaviour(different, open_pool)
    merged += [
        Merged(problem=problem, kept=same[problem.task_id], reason="duplicate by behaviour")
        for problem in different
        if problem.task_id in same
    ]
    counts: dict[str, int] = defaultdict(int)
    for each in merged:
        counts[same.get(each.kept, each.kept)] += 1
    kept_problems = [_counted(each, counts[each.task_id]) for each in different if each.task_id not in same]
    return kept_problems, merged


def _same_behaviour(problems: Sequence[Problem], open_pool: Callable[[], JudgePool]) -> dict[str, str]:
    """task_id -> task_id of the first problem that passes its tests and whose tests it passes."""
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        if problem.io_examples:
            groups[_types_of(problem)].append(problem)
    pairs = [(one, two) for group in groups.values() for at, two in enumerate(group) for one in group[:at]]
    if not pairs:
        return {}
    with open_pool() as pool:
        passing = _passing(pool, pairs)
        both = _passing(pool, [(two, one) for one, two in passing])
    same: dict[str, str] = {}
    for two, one in both:
        if one.task_id not in same:
            same.setdefault(two.task_id, one.task_id)
    return same


def _passing(pool: JudgePool, pairs: Sequence[tuple[Problem, Problem]]) -> list[tuple[Problem, Problem]]:
    """The pairs whose first one's solution passes the second one's calls."""
    programs = (
        Program(source=one.prompt + one.canonical_solution, entry_point=one.entry_point, io_examples=two.io_examples)
        for one, two in pairs
    )
    verdicts = dict(pool.judge(programs))
    return [pair for number, pair in enumerate(pairs) if verdicts[number].passed]


def _types_of(problem: Problem) -> str:
    """Of the first example's result, and of how many arguments: functions that differ here are not compared."""
    example = problem.io_examples[0]
    tags: Iterable[object] = [example.get("output")]
    kinds = [next(iter(form)) if isinstance(form, dict) else type(form).__name__ for form in tags]
    return f"{kinds} {len(example['args'])} {sorted(example['kwargs'])} {'raises' in example}"


def _counted(problem: Problem, number: int) -> Problem:
    return replace(problem, provenance={**problem.provenance, "duplicates": number}) if number else problem
