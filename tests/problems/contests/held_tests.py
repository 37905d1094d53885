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
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.reference_answers import with_expected_outputs
from megatron_codex.records import Problem
from megatron_codex.tagged import decode, encode

MBPP = Path(__file__).parents[2] / "fixtures" / "mbpp.jsonl.gz"
MAX_TESTS = 12
_OUTCOME = """

def outcome(*args):
    try:
        return [True, {name}(*args)]
    except Exception:
        return [False, None]
"""


def held_and_known(num_problems: int) -> tuple[list[Problem], list[Problem]]:
    """The first problems whose tests can be said as input and output. Each held input is there once."""
    held, known = [], []
    for problem in read_problems(MBPP):
        challenge = "\n".join(problem.provenance["challenge_test_list"])
        own = asserted_examples(f"{problem.test}\n{challenge}", problem.entry_point)
        if len(own) < 2:
            continue
        tests = different_inputs([*own, *_more(problem, own)])[:MAX_TESTS]
        bare = dataclasses.replace(problem, provenance={})
        held.append(dataclasses.replace(bare, **function_tests(tests)))
        known.append(dataclasses.replace(bare, **function_tests(tests[:1])))
        if len(held) == num_problems:
            break
    return held, known


def _more(problem: Problem, own: tuple[Example, ...]) -> tuple[Example, ...]:
    inputs = [[encode(arg) for arg in args] for each in own for args in _near([decode(form) for form in each["args"]])]
    asked = dataclasses.replace(
        problem,
        canonical_solution=problem.canonical_solution + _OUTCOME.format(name=problem.entry_point),
        entry_point="outcome",
        test="",
        provenance={PENDING: {"inputs": inputs, "tolerance": 0}},
    )
    try:
        limits: dict[str, Any] = {"timeout_s": 3.0, "memory_bytes": 1 << 30, "allow_level_b": False, "workers": 1}
        answered = with_expected_outputs([asked], **limits)[problem.task_id]
    except InputError:  # an answer is no plain data, or takes too long
        return ()
    return tuple({**each, "output": each["output"][1]} for each in answered.io_examples if each["output"][0])


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
