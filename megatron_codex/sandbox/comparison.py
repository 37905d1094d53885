"""Whether a candidate's answer is the expected one: in the driver, on data of unknown origin.

In: an answer frame, an example of records.Problem.io_examples. Out: "" or what differs. Equality is Python's (1 == True
== 1.0, 0.0 == -0.0, a list is no tuple), but nan equals nan. An iterator is equal to no list: a test that wants its
items says list(f(x)). An example may ask for less:
* "tolerance": floats, also inside lists, tuples and a dict's values, may differ by tolerance + relative_tolerance *
  |expected| (relative: 1e-7 unless given, as NumPy's allclose of EvalPlus); an int passes for a float, a bool does not;
  an infinity equals itself only. What is expected as an int, or in a set, or as a key, stays exact;
* "unordered": the order of the outermost list or tuple does not count; with a tolerance its items must be floats.
Time is n log n in the size of the answer: it is compared as text (canonical.py), never put into a set or dict of its
own values, since numbers chosen to collide there cost quadratic time.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from megatron_codex.sandbox.canonical import canonical_text, number_of
from megatron_codex.tagged import NotPlainData, decode

RELATIVE_TOLERANCE = 1e-7
_MAX_SHOWN_CHARS = 100
_MAX_DECODED_ITEMS = 1000
_MAX_MESSAGE_CHARS = 500
"""exceptions.py cuts messages there."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """By how much a float may differ."""

    absolute: float
    relative: float

    @classmethod
    def of(cls, example: Mapping[str, Any]) -> Self | None:
        """As an example says; None when it wants equality."""
        if "tolerance" not in example:
            return None
        relative = float(example.get("relative_tolerance", RELATIVE_TOLERANCE))
        return cls(absolute=float(example["tolerance"]), relative=relative)


def difference(answer: dict[str, Any], example: Mapping[str, Any]) -> str:
    """Empty when the answer is right. Raises: NotPlainData when the answer is malformed, whatever it holds."""
    try:
        if "raises" in example:
            return _exception_difference(answer, example)
        return _value_difference(answer, example)
    except (LookupError, TypeError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise NotPlainData(f"the answer is malformed: {type(error).__name__}") from error


def describe_exception(answer: dict[str, Any]) -> str:
    """Name and message of the exception in an answer, which may hold anything."""
    names = answer.get("raised")
    name = names[0] if type(names) is list and names and type(names[0]) is str else "an exception"
    message = answer.get("message")
    return f"{name}: {message}" if type(message) is str and message else name


def is_close(actual: float, expected: float, tolerance: Tolerance) -> bool:
    """|actual - expected| <= absolute + relative * |expected|; infinities and nan equal themselves only."""
    if actual == expected or (actual != actual and expected != expected):
        return True
    if abs(actual) == float("inf") or abs(expected) == float("inf"):
        return False
    return abs(actual - expected) <= tolerance.absolute + tolerance.relative * abs(expected)


def equal(actual: Any, expected: Any, tolerance: Tolerance | None = None) -> bool:
    """Of tagged forms. Raises: NotPlainData for malformed ones."""
    if tolerance is None:
        if type(actual) is type(expected) and type(actual) in (int, str):  # as most are
            return bool(actual == expected)
        return canonical_text(actual) == canonical_text(expected)
    if type(expected) is list:
        return type(actual) is list and _all_equal(actual, expected, tolerance)
    tag = _tag(expected)
    if tag in ("t", "d") and _tag(actual) != tag:
        return False
    if tag == "t":
        return _all_equal(actual["t"], expected["t"], tolerance)
    if tag == "d":
        ours, theirs = _by_key(actual), _by_key(expected)
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key], tolerance) for key in theirs)
    if tag in ("f", "c") and type(actual) is not bool:
        number, wanted = number_of(actual), number_of(expected)
        return number is not None and wanted is not None and _numbers_are_close(number, wanted, tolerance)
    return canonical_text(actual) == canonical_text(expected)


def equal_in_any_order(actual: Any, expected: Any, tolerance: Tolerance | None = None) -> bool:
    """As equal, for two lists or tuples of the same items. With a tolerance the expected items must be floats."""
    ours, theirs = _items(actual), _items(expected)
    if ours is None or theirs is None or _tag(actual) != _tag(expected) or len(ours) != len(theirs):
        return False
    if tolerance is None:
        return sorted(map(canonical_text, ours)) == sorted(map(canonical_text, theirs))
    if any(_real_number(item) is None for item in [*ours, *theirs]) or any(_tag(item) != "f" for item in theirs):
        return False
    # Sorted, the i-th of one belongs to the i-th of the other: if any pairing holds, this one does.
    return _all_equal(sorted(ours, key=_real_number), sorted(theirs, key=_real_number), tolerance)  # type: ignore[arg-type]


def _value_difference(answer: dict[str, Any], example: Mapping[str, Any]) -> str:
    expected = example["output"]
    if "raised" in answer:
        return f"it raised {describe_exception(answer)}"
    if "iterator" in answer:
        return f"it returned an iterator, expected {_show(expected)}"
    form = answer["value"]
    compare = equal_in_any_order if example.get("unordered") else equal
    if compare(form, expected, Tolerance.of(example)):
        return ""
    return f"it returned {_show(form)}, expected {_show(expected)}"


def _exception_difference(answer: dict[str, Any], example: Mapping[str, Any]) -> str:
    expected = str(example["raises"])
    if "raised" not in answer:
        return f"it returned, expected {expected} to be raised"
    names = answer["raised"]
    if type(names) is not list or not _is_kind_of(names, expected):
        return f"it raised {describe_exception(answer)}, expected {expected}"
    message = example.get("message")
    if message is not None and answer.get("message") != str(message)[:_MAX_MESSAGE_CHARS]:
        return f"it raised {describe_exception(answer)}, expected the message {_shorten(message)}"
    return ""


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


def _all_equal(actual: Any, expected: list[Any], tolerance: Tolerance) -> bool:
    if type(actual) is not list:
        raise NotPlainData("not a tagged value")
    same_length = len(actual) == len(expected)
    return same_length and all(equal(ours, theirs, tolerance) for ours, theirs in zip(actual, expected, strict=True))


def _numbers_are_close(actual: complex, expected: complex, tolerance: Tolerance) -> bool:
    if isinstance(actual, complex) or isinstance(expected, complex):
        actual, expected = complex(actual), complex(expected)
        return is_close(actual.real, expected.real, tolerance) and is_close(actual.imag, expected.imag, tolerance)
    return is_close(float(actual), float(expected), tolerance)


def _tag(form: Any) -> str | None:
    return next(iter(form)) if type(form) is dict and len(form) == 1 else None


def _items(form: Any) -> list[Any] | None:
    items = form["t"] if _tag(form) == "t" else form
    return items if type(items) is list else None


def _by_key(form: dict[str, Any]) -> dict[str, Any]:
    return {canonical_text(key): value for key, value in form["d"]}


def _real_number(form: Any) -> float | None:
    number = None if type(form) is bool else number_of(form)
    return None if number is None or isinstance(number, complex) or number != number else float(number)


def _size(form: Any) -> int:
    """Values in a form, containers included."""
    if type(form) is list:
        return 1 + sum(map(_size, form))
    return 1 + _size(next(iter(form.values()))) if type(form) is dict and len(form) == 1 else 1


def _show(form: Any) -> str:
    # Not decoded when it is large: its numbers may have been chosen to collide.
    small = _size(form) <= _MAX_DECODED_ITEMS
    return _shorten(decode(form)) if small else f"{_shorten(form)} (tagged)"


def _shorten(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of more than 4,300 digits; nested too deep
        return "a value too large to show"
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "..."
