"""A problem's examples, checked where they are read: with file, line and field, not in the middle of judging.

In: rows of io_examples and stdio_examples. Out: nothing, or an InputError that names the key, the value and the rule.
docs/formats.md says what the keys mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.records import Problem
from megatron_codex.sandbox.comparison import difference
from megatron_codex.sandbox.output import COMPARISONS
from megatron_codex.sandbox.stdio import MAX_OUTPUT_BYTES
from megatron_codex.tagged import NotPlainData, decode

_TOLERANCES = ("tolerance", "relative_tolerance")
_IO_KEYS = ("args", "kwargs", "output", "raises", "message", "unordered", *_TOLERANCES)
_STDIO_KEYS = ("input", "output", "compare", *_TOLERANCES)


def check_examples(problem: Problem, *, where: str) -> None:
    """All examples of a problem. where: "file:line". Raises: InputError."""
    for number, example in enumerate(problem.io_examples):
        check_io_example(example, where=f"{where}: io_examples[{number}]")
    for number, example in enumerate(problem.stdio_examples):
        checked = bool(problem.checker.strip())
        check_stdio_example(example, where=f"{where}: stdio_examples[{number}]", has_checker=checked)
    if problem.checker.strip() and not problem.stdio_examples:
        raise InputError(f"{where}: checker", rule="is for stdio_examples, of which there are none", remedy="add some")
    if (problem.test.strip() or problem.io_examples) and not problem.entry_point:
        rule = "is empty, but test and io_examples call a function"
        raise InputError(f"{where}: entry_point", value="", rule=rule, remedy="name the function")


def check_io_example(example: Any, *, where: str) -> None:
    """Refuse a call that the judge could not make or an answer that it could not compare. Raises: InputError."""
    rule = 'must be {"args": [...], "kwargs": {...}, and either "output" or "raises"} in tagged JSON'
    try:
        if not isinstance(example, Mapping) or ("output" in example) == ("raises" in example):
            raise NotPlainData("not of this form")
        decode(list(example["args"]))
        for value in dict(example["kwargs"]).values():
            decode(value)
        decode(example["output"] if "output" in example else str(example["raises"]))
    except (NotPlainData, KeyError, TypeError, ValueError) as error:
        raise InputError(where, value=example, rule=f"{rule} ({error})", remedy="mend this line") from error
    _check_keys(example, _IO_KEYS, where)
    _check_tolerance(example, where)
    kind = "output" if "output" in example else "raises"
    for key in ("message",) if kind == "output" else ("unordered", *_TOLERANCES):
        if key in example:
            rule = f'does not go with "{kind}"'
            raise InputError(f"{where}: {key}", value=example[key], rule=rule, remedy="delete it")
    _check_type(example, "message", str, where)
    _check_type(example, "unordered", bool, where)
    if kind == "output" and difference({"value": example["output"]}, example):
        rule = "must be a list or tuple where unordered is true, and one of floats if there is a tolerance too"
        raise InputError(f"{where}: output", value=example["output"], rule=rule, remedy="delete unordered")


def check_stdio_example(example: Any, *, where: str, has_checker: bool) -> None:
    """has_checker: the output may be missing, and how it is compared is not said. Raises: InputError."""
    if not isinstance(example, Mapping):
        rule = 'must be {"input": "...", "output": "..."}'
        raise InputError(where, value=example, rule=rule, remedy="mend this line")
    _check_keys(example, ("input", "output") if has_checker else _STDIO_KEYS, where)
    for key in ("input",) if has_checker and "output" not in example else ("input", "output"):
        if key not in example:
            raise InputError(f"{where}: {key}", rule="is missing", remedy="add it, as a string")
        _check_type(example, key, str, where)
    if len(example.get("output", "").encode(errors="surrogateescape")) > MAX_OUTPUT_BYTES:
        rule = f"must be at most {MAX_OUTPUT_BYTES} bytes, where a script's output is cut"
        raise InputError(f"{where}: output", value="too long", rule=rule, remedy="delete this example")
    if "compare" in example and example["compare"] not in COMPARISONS:
        rule, remedy = f"must be one of {', '.join(COMPARISONS)}", "mend this line"
        raise InputError(f"{where}: compare", value=example["compare"], rule=rule, remedy=remedy)
    if example.get("compare") == "lines" and "tolerance" in example:
        rule = "compares tokens, not lines"
        raise InputError(f"{where}: tolerance", value=example["tolerance"], rule=rule, remedy="delete compare")
    _check_tolerance(example, where)


def _check_keys(example: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in example:
        if key not in known:
            rule, remedy = f"is no key of an example (they are {', '.join(known)})", "delete or mend it"
            raise InputError(f"{where}: {key}", value=example[key], rule=rule, remedy=remedy)


def _check_type(example: Mapping[str, Any], key: str, kind: type, where: str) -> None:
    if key in example and type(example[key]) is not kind:
        rule, remedy = f"must be of type {kind.__name__}", "mend this line"
        raise InputError(f"{where}: {key}", value=example[key], rule=rule, remedy=remedy)


def _check_tolerance(example: Mapping[str, Any], where: str) -> None:
    for key in _TOLERANCES:
        value = example.get(key, 0)
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            rule, remedy = "must be a number, at least 0 and finite", "1e-6 is usual"
            raise InputError(f"{where}: {key}", value=value, rule=rule, remedy=remedy)
    if "relative_tolerance" in example and "tolerance" not in example:
        rule, remedy = "needs a tolerance beside it", 'add "tolerance": 0'
        raise InputError(f"{where}: relative_tolerance", value=example["relative_tolerance"], rule=rule, remedy=remedy)
