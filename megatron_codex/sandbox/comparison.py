"""Whether a candidate's answer is the expected one: in the driver, on data of unknown origin.

In: an answer frame, an example. Out: "" or what differs. The answer is only decoded when it has exactly as many items
as the expected value: numbers chosen to collide in a set cost time quadratic in their number, so a candidate must not
choose that number.
"""

from __future__ import annotations

from typing import Any

from megatron_codex.tagged import NotPlainData, decode

_MAX_SHOWN_CHARS = 100


def difference(answer: dict[str, Any], example: dict[str, Any]) -> str:
    """Empty when the answer is right. Equality is Python's (1 == True == 1.0), and nan equals nan.

    Raises: NotPlainData when the answer is malformed.
    """
    if "raises" in example:
        return _exception_difference(answer, str(example["raises"]))
    if "raised" in answer:
        return f"it raised {_shorten(answer['raised'][:1])}: {answer.get('message', '')}"
    if "value" not in answer:
        return "it returned an iterator" if "iterator" in answer else _malformed()
    if _num_items(answer["value"]) == _num_items(example["output"]):
        actual, expected = decode(answer["value"]), decode(example["output"])
        if equal(actual, expected):
            return ""
        return f"it returned {_shorten(actual)}, expected {_shorten(expected)}"
    return f"it returned {_shorten(answer['value'])} (tagged), expected {_shorten(example['output'])}"


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


def _exception_difference(answer: dict[str, Any], expected: str) -> str:
    names = answer.get("raised")
    if names is None:
        return f"it returned, expected {expected} to be raised"
    if type(names) is not list:
        return _malformed()
    return "" if expected in names else f"it raised {_shorten(names[:1])}, expected {expected}"


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


def _malformed() -> str:
    raise NotPlainData("the answer is malformed")


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "..."
