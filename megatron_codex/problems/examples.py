"""Recorded calls as tests: which can be told by an assertion, and a few that differ.

In: examples in tagged JSON (assertions.py says what they hold). Out: some of them. Codex paper, section 4.2.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Sequence
from typing import Any

from megatron_codex.problems.assertions import Example, check_source, tags_in
from megatron_codex.tagged import NotPlainData

_UNMAKEABLE = ("UnicodeDecodeError", "UnicodeEncodeError", "UnicodeTranslateError", "ExceptionGroup")
"""They want more than a message, so that another process cannot raise them again."""
_NOT_DATA = frozenset({"m", "E", "N", "O", "x", "I"})
"""Tags that the judge's own comparison does not know: only a test's source can tell such values."""


def is_testable(example: Example) -> bool:
    """Whether an assertion can tell this outcome: no nan in it; exceptions must be builtin ones made of a message.

    Forms are data of unknown origin: one that no source can be written for is none.
    """
    try:
        check_source([example])
    except NotPlainData:
        return False
    if "raises" in example:
        kind = getattr(builtins, example["raises"], None)
        return isinstance(kind, type) and issubclass(kind, Exception) and example["raises"] not in _UNMAKEABLE
    return not _has_nan([example.get("output"), example.get("iterator"), list(example.get("changes", {}).values())])


def is_data(example: Example) -> bool:
    """Whether it can stand among io_examples, which the judge compares itself: plain data, no argument changed."""
    if "iterator" in example or "changes" in example:
        return False
    return not _NOT_DATA & tags_in([example["args"], list(example["kwargs"].values()), example.get("output")])


def outcome_key(example: Example) -> str:
    """Equal for examples with equal outcomes."""
    return json.dumps([example.get(key) for key in ("output", "raises", "iterator", "changes")], sort_keys=True)


def num_outcomes(examples: Sequence[Example]) -> int:
    """Different outcomes: with one only, a function that ignores its arguments would pass."""
    return len({outcome_key(example) for example in examples})


def choose_examples(examples: Sequence[Example], limit: int) -> list[Example]:
    """At most `limit`, of as many different outcomes as there are, short and long ones.

    One of each outcome comes before a second of any; where that is too many, they are taken evenly by size.
    """
    groups: dict[str, list[Example]] = {}
    for example in sorted(examples, key=example_size):
        groups.setdefault(outcome_key(example), []).append(example)
    chosen: list[Example] = []
    for turn in range(max(map(len, groups.values()), default=0)):
        more = [group[turn] for group in groups.values() if turn < len(group)]
        chosen += _evenly(more, limit - len(chosen))
    return chosen


def example_size(example: Example) -> tuple[int, str]:
    """To sort by: short ones first, the same order everywhere."""
    text = json.dumps(example, sort_keys=True)
    return len(text), text


def _evenly(examples: Sequence[Example], limit: int) -> list[Example]:
    if len(examples) <= limit:
        return list(examples)
    return [examples[(2 * number + 1) * len(examples) // (2 * limit)] for number in range(limit)]


def _has_nan(form: Any) -> bool:
    if type(form) is list:
        return any(map(_has_nan, form))
    if type(form) is not dict:
        return False
    ((tag, payload),) = form.items()
    if tag in ("f", "c"):
        return "nan" in (payload if tag == "c" else [payload])
    return form == {"x": ["decimal.Decimal", ["NaN"]]} or _has_nan(payload)
