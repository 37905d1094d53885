"""The cases of one property of an Exercism exercise as examples of a function.

In: cases of canonical-data.json (property, input, expected; nested groups; reimplemented cases; scenarios). Out:
examples with keyword arguments; a case that expects {"error": ...} raises ValueError, as the Python track's do.
Rejected are properties that no plain function can have: operations on an object, functions as arguments, chance.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.candidate import Rejected
from megatron_codex.problems.contests.signatures import python_name
from megatron_codex.problems.contests.values import call_example, raising_example
from megatron_codex.tagged import NotPlainData

Case = Mapping[str, Any]

RAISED = "ValueError"
_NO_VALUES = frozenset(["random", "concurrent", "local-scope", "runtime-validation", "immutable"])
"""Scenarios whose expectation is no value of a call."""
_PSEUDO_CODE = re.compile(r"\s*(\(?\s*\w+(\s*,\s*\w+)*\s*\)?|fn\(.*\))\s*(->|=>)\s*\S")
_FLOAT_TOLERANCE = 1e-6
_MIN_DECIMALS = 2


def cases_by_property(data: Any, *, where: str) -> dict[str, list[Case]]:
    """All cases, groups opened, the reimplemented ones replaced. Raises: InputError for a file of another form."""
    cases = list(_flat(data, where))
    replaced = {case["reimplements"] for case in cases if "reimplements" in case}
    found: dict[str, list[Case]] = {}
    for case in cases:
        if case.get("uuid") not in replaced:
            found.setdefault(str(case["property"]), []).append(case)
    return found


def examples_of(cases: Sequence[Case]) -> list[Example]:
    """One for each case that a call can show. Raises: Rejected when the property is no plain function."""
    kept = [case for case in cases if not _NO_VALUES.intersection(case.get("scenarios", ()))]
    if not kept:
        raise Rejected("usable", "chance, time or types decide", "every case has such a scenario")
    for case in kept:
        _check(case)
    try:
        return [_example(case) for case in kept]
    except NotPlainData as error:
        raise Rejected("tested", "a test is no plain data", str(error)) from error


def _flat(node: Any, where: str) -> Iterator[Case]:
    for number, case in enumerate(_cases_in(node, where)):
        here = f"{where}: cases[{number}]"
        if isinstance(case, Mapping) and "cases" in case:
            yield from _flat(case, here)
        elif (
            isinstance(case, Mapping)
            and isinstance(case.get("input"), Mapping)
            and {"property", "expected"} <= set(case)
        ):
            yield case
        else:
            rule = "must be a group of cases, or have property, input (an object) and expected"
            raise InputError(here, value=case, rule=rule, remedy="mend this file")


def _cases_in(node: Any, where: str) -> list[Any]:
    if isinstance(node, Mapping) and isinstance(node.get("cases"), list):
        return list(node["cases"])
    raise InputError(f"{where}: cases", value=node, rule="must be a list", remedy="mend this file")


def _check(case: Case) -> None:
    given, expected = case["input"], case["expected"]
    if "operations" in given or expected == {}:
        raise Rejected("usable", "operations on an object", str(case.get("description", "")))
    names = [python_name(name) for name in given]
    if len(set(names)) < len(names):
        raise Rejected("usable", "two arguments of one name", ", ".join(given))
    if any(_PSEUDO_CODE.match(value) for value in given.values() if isinstance(value, str)):
        raise Rejected("usable", "a function as an argument", str(case.get("description", "")))
    if not given:
        raise Rejected("usable", "no arguments", "a call without arguments has one answer")


def _example(case: Case) -> Example:
    kwargs = {python_name(name): value for name, value in case["input"].items()}
    expected = case["expected"]
    if isinstance(expected, Mapping) and isinstance(expected.get("error"), str):
        return raising_example([], kwargs, RAISED)
    floats = list(_floats(expected))
    return call_example([], kwargs, expected, **({"tolerance": _tolerance(floats)} if floats else {}))


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _floats(item)


def _tolerance(floats: Sequence[float]) -> float:
    """Half a unit of the last digit that the file gives, where it gives at least two; 1e-6 else."""
    decimals = max(len(repr(value).partition(".")[2]) for value in floats if "e" not in repr(value)) if floats else 0
    return max(_FLOAT_TOLERANCE, 0.5001 * 10**-decimals) if decimals >= _MIN_DECIMALS else _FLOAT_TOLERANCE
