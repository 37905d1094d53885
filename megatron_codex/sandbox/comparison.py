"""Whether a candidate's answer is the expected one: in the driver, on data of unknown origin.

In: an answer frame, an example. Out: "" or what differs. The answer is only decoded when it has exactly as many items
as the expected value: numbers chosen to collide in a set cost time quadratic in their number, so a candidate must not
choose that number.
"""

from __future__ import annotations

import builtins
from typing import Any

from megatron_codex.tagged import NotPlainData, decode

_MAX_SHOWN_CHARS = 100


def difference(answer: dict[str, Any], example: dict[str, Any]) -> str:
    """Empty when the answer is right. Equality is Python's (1 == True == 1.0), and nan equals nan.

    Raises: NotPlainData when the answer is malformed, whatever it holds.
    """
    try:
        if "raises" in example:
            return _exception_difference(answer, str(example["raises"]))
        return _value_difference(answer, example["output"])
    except (LookupError, TypeError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise NotPlainData(f"the answer is malformed: {type(error).__name__}") from error


def describe_exception(answer: dict[str, Any]) -> str:
    """Name and message of the exception in an answer, which may hold anything."""
    names = answer.get("raised")
    name = names[0] if type(names) is list and names and type(names[0]) is str else "an exception"
    message = answer.get("message")
    return f"{name}: {message}" if type(message) is str and message else name


def equal(actual: Any, expected: Any) -> bool:
    """`==`, but a nan equals a nan in the same place."""
    kind = type(expected)
    if kind is float and expected != expected:
        return type(actual) is float and actual != actual
    if type(actual) is kind and kind in (list, tuple):
        return len(actual) == len(expected) and all(map(equal, actual, expected))
    if type(actual) is kind and kind is dict:
        return len(actual) == len(expected) and all(
            key in actual and equal(actual[key], expected[key]) for key in expected
        )
    return bool(actual == expected)


def _value_difference(answer: dict[str, Any], expected_form: Any) -> str:
    if "raised" in answer:
        return f"it raised {describe_exception(answer)}"
    if "iterator" in answer:
        return f"it returned an iterator, expected {_shorten(expected_form)}"
    form = answer["value"]
    if _num_items(form) != _num_items(expected_form):
        return f"it returned {_shorten(form)}, expected {_shorten(expected_form)} (tagged)"
    actual, expected = decode(form), decode(expected_form)
    return "" if equal(actual, expected) else f"it returned {_shorten(actual)}, expected {_shorten(expected)}"


def _exception_difference(answer: dict[str, Any], expected: str) -> str:
    if "raised" not in answer:
        return f"it returned, expected {expected} to be raised"
    names = answer["raised"]
    if type(names) is list and _is_kind_of(names, expected):
        return ""
    return f"it raised {describe_exception(answer)}, expected {expected}"


def _is_kind_of(names: list[Any], expected: str) -> bool:
    """Whether the classes of an exception, most special first, have the expected one among them.

    Of builtin classes the first decides, with its true bases: a list can name every exception there is.
    """
    for name in names:
        kind = getattr(builtins, name, None) if type(name) is str else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            return expected in [base.__name__ for base in kind.__mro__]
        if name == expected:
            return True
    return False


def _num_items(form: Any) -> int:
    """Values in a tagged form, containers included: equal for equal values of plain data."""
    if type(form) is list:
        return 1 + sum(map(_num_items, form))
    if type(form) is dict and len(form) == 1:
        ((tag, payload),) = form.items()
        if type(payload) is list and tag in ("t", "s", "z"):
            return 1 + sum(map(_num_items, payload))
        if type(payload) is list and tag == "d":
            return 1 + sum(_num_items(item) for pair in payload if type(pair) is list for item in pair)
    return 1


def _shorten(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more than 4,300 digits; nested too deep
        return "a value too large to show"
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "..."
