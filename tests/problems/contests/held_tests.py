"""Hidden tests of MBPP-shaped problems: MBPP's own, and what the references answer to inputs that differ a little.

In: a number of problems. Out: what a site holds, and what a contestant has: the statement and the first test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.assertions import asserted_examples
from megatron_codex.problems.contests.readings import function_tests
from megatron_codex.problems.contests.values import different_inputs
from megatron_codex.problems.evalplus import PENDING
from megatron_codex.problems.readers import numbered_rows, problem_from_row
from megatron_codex.problems.reference_answers import with_expected_outputs
from megatron_codex.records import Problem
from megatron_codex.tagged import decode, encode

MBPP = Path(__file__).parents[2] / "fixtures" / "mbpp.jsonl.gz"
_OUTCOME = """

def outcome(*args):
    try:
        return [True, {name}(*args)]
    except Exception:
        return [False, None]
"""


def held_and_known(num_problems: int, *, max_tests: int = 12) -> tuple[list[Problem], list[Problem]]:
    """The first problems whose tests can be said as input and output. Each held input is there once."""
    own = {}
    problems = []
    for number, row in numbered_rows(MBPP):
        problem = problem_from_row(row, where=f"{MBPP}:{number}")
        challenge = "\n".join(problem.provenance["challenge_test_list"])
        own[problem.task_id] = asserted_examples(f"{problem.test}\n{challenge}", problem.entry_point)
        if len(own[problem.task_id]) > 1:
            problems.append(dataclasses.replace(problem, provenance={}))
        if len(problems) == num_problems:
            break
    more = _answers([_asked(each, own[each.task_id]) for each in problems])
    tests = [different_inputs([*own[each.task_id], *more[each.task_id]])[:max_tests] for each in problems]
    held = [dataclasses.replace(each, **function_tests(some)) for each, some in zip(problems, tests, strict=True)]
    known = [dataclasses.replace(each, **function_tests(some[:1])) for each, some in zip(problems, tests, strict=True)]
    return held, known


def _asked(problem: Problem, own: tuple[Example, ...]) -> Problem:
    """The problem, pending (evalplus.py), with inputs near its own; an answer says whether there was one, and which."""
    inputs = [[encode(arg) for arg in args] for each in own for args in _near([decode(form) for form in each["args"]])]
    return dataclasses.replace(
        problem,
        canonical_solution=problem.canonical_solution + _OUTCOME.format(name=problem.entry_point),
        entry_point="outcome",
        test="",
        provenance={PENDING: {"inputs": inputs, "tolerance": 0}},
    )


def _answers(asked: list[Problem]) -> dict[str, list[Example]]:
    """By task_id. A reference whose answers are no plain data, or take too long, has none."""
    limits: dict[str, Any] = {"timeout_s": 3.0, "memory_bytes": 1 << 30, "allow_level_b": False, "workers": 1}
    try:
        answered = with_expected_outputs(asked, **limits)
    except InputError:
        if len(asked) == 1:
            return {asked[0].task_id: []}
        return {task_id: some for each in asked for task_id, some in _answers([each]).items()}
    return {
        task_id: [{**each, "output": each["output"][1]} for each in problem.io_examples if each["output"][0]]
        for task_id, problem in answered.items()
    }


def _near(args: list[Any]) -> Iterator[list[Any]]:
    """The same arguments with one of them changed a little."""
    for place, value in enumerate(args):
        for other in _other_values(value):
            yield [*args[:place], other, *args[place + 1 :]]


def _other_values(value: Any) -> list[Any]:
    if type(value) is int:
        return [value + 1, value - 1]
    if type(value) in (str, list, tuple):
        return [value[::-1], value[1:], value + value[:1]]
    return [value * 2] if type(value) is float else []
