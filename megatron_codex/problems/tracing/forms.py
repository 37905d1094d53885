"""A value as the text of its tagged form, as long as it has one and is of modest size.

In: a value of a traced call. Out: JSON. Nothing here runs code of the project.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from megatron_codex.restorable_objects import encode_restorable, layout_of, parts_of
from megatron_codex.tagged import NotPlainData

try:
    from megatron_codex.problems.tracing._tracer import text_of as quick_text_of
except ImportError:  # not built, or built for another Python
    quick_text_of = None  # type: ignore[assignment]

_MAX_ITEMS, _MAX_CHARACTERS, _MAX_DEPTH, _MAX_INTEGER_BITS = 200, 2_000, 8, 1_024
_LIMITS = (_MAX_ITEMS, _MAX_CHARACTERS, _MAX_DEPTH)
_SCALARS = (type(None), bool, float, complex, range)
_TEXTS = (str, bytes, bytearray)
_SEQUENCES = (list, tuple, set, frozenset)


def _make_json_text() -> Callable[[Any], str]:
    make: Any = vars(json.encoder)["c_make_encoder"]
    if make is None:
        return json.JSONEncoder().encode
    quote = json.encoder.encode_basestring_ascii
    parts = make(None, None, quote, None, ": ", ", ", False, False, True)
    return lambda form: "".join(parts(form, 0))


json_text = _make_json_text()
"""json.dumps for forms, which are trees without floats, in C alone: nothing of it can be replaced later."""


def text_of(value: Any) -> str:
    """A value's tagged form, as JSON. Raises: NotPlainData, naming what has no form or is too large."""
    if quick_text_of is not None:
        text = quick_text_of(value, _LIMITS, _layout_of)
        if text:
            return text
        if text is False:
            raise _RefusedError(value)
    return defined_text_of(value)


class _RefusedError(NotPlainData):
    """What is wrong is found out when it is asked for: most refusals are not the first of their function."""

    def __str__(self) -> str:
        try:
            return defined_text_of(self.args[0])
        except NotPlainData as error:
            return str(error)


def defined_text_of(value: Any) -> str:
    """As text_of, which is to give the same, sooner."""
    check_size(value)
    return json_text(encode_restorable(value))


def _layout_of(kind: type) -> tuple[str, tuple[Any, ...]] | Literal[False] | None:
    """For quick_text_of: how the form of an object begins, and the slots that it may have besides a __dict__.

    False: objects of this class never have a form. None: one of another kind.
    """
    found = layout_of(kind)
    if not found:
        return False if found == () else None
    (module, name), slots = found
    if len({field for field, _ in slots}) < len(slots):
        return None  # a class has a slot anew that its base has
    return f'{{"O": [{json_text(module)}, {json_text(name)}, [', slots


def check_size(value: Any) -> Any:
    """The value itself, when it and what it holds are not too much. Raises: NotPlainData."""
    _measure(value, 0, [_MAX_ITEMS, _MAX_CHARACTERS])
    return value


def _measure(value: Any, depth: int, left: list[int]) -> None:
    kind = type(value)
    left[0] -= 1
    if left[0] < 0 or depth > _MAX_DEPTH:
        raise NotPlainData("too many items" if left[0] < 0 else "nested too deep")
    if type(kind) is not type:  # `in` would ask a metaclass for its __eq__
        _measure_all(parts_of(value), depth, left)
    elif kind is int:
        if value.bit_length() > _MAX_INTEGER_BITS:
            raise NotPlainData("too large an int")
    elif kind in _TEXTS:
        left[1] -= len(value)
        if left[1] < 0:
            raise NotPlainData("too long a text")
    elif kind in _SEQUENCES:
        _measure_all(value, depth, left)
    elif kind is dict:
        for key, item in value.items():
            _measure(key, depth + 1, left)
            _measure(item, depth + 1, left)
    elif kind not in _SCALARS:
        _measure_all(parts_of(value), depth, left)


def _measure_all(values: Any, depth: int, left: list[int]) -> None:
    for value in values:
        _measure(value, depth + 1, left)
