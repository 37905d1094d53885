"""One call as data: the arguments that make it again, as long as they have a form and are of modest size.

In: a frame's code and values. Out: (args, kwargs), and their forms. Nothing here runs code of the project.
"""

from __future__ import annotations

from types import CodeType, FunctionType
from typing import Any

from megatron_codex.restorable_objects import encode_restorable, parts_of
from megatron_codex.tagged import NotPlainData

try:
    from megatron_codex.problems.tracing._tracer import measure as measure_plain
except ImportError:  # not built, or built for another Python
    measure_plain = None  # type: ignore[assignment]

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # CO_VARARGS, CO_VARKEYWORDS
_MAX_ITEMS, _MAX_CHARACTERS, _MAX_DEPTH, _MAX_INTEGER_BITS = 200, 2_000, 8, 1_024
LIMITS = (_MAX_ITEMS, _MAX_CHARACTERS, _MAX_DEPTH, _MAX_INTEGER_BITS)
_SCALARS = (type(None), bool, float, complex, range)
_TEXTS = (str, bytes, bytearray)
_SEQUENCES = (list, tuple, set, frozenset)


def call_arguments(code: CodeType, values: Any, function: FunctionType | None) -> tuple[list[Any], dict[str, Any]]:
    """The (args, kwargs) that make this call again, arguments that are their parameter's default left out.

    values: parameter name -> value. function: to know the defaults; None: all arguments are given.
    """
    names, count = code.co_varnames, code.co_argcount
    args = [values[name] for name in names[:count]]
    position = count + code.co_kwonlyargcount
    kwonly_defaults = (function.__kwdefaults__ if function else None) or {}
    missing = object()
    kwargs = {
        name: values[name] for name in names[count:position] if values[name] is not kwonly_defaults.get(name, missing)
    }
    extra: tuple[Any, ...] = ()
    if code.co_flags & _VARARGS:
        extra = values[names[position]]
        position += 1
    if code.co_flags & _VARKEYWORDS:
        kwargs.update(values[names[position]])
    defaults = (function.__defaults__ if function else None) or ()
    required = count - len(defaults)
    given = [at for at in range(required, count) if args[at] is not defaults[at - required]]
    first = next((at for at in range(required, count) if at not in given), count)
    by_name = [at for at in given if at > first]
    if extra or any(at < code.co_posonlyargcount for at in by_name):
        return [*args, *extra], kwargs
    return args[:first], {**{names[at]: args[at] for at in by_name}, **kwargs}


def form_of(value: Any) -> Any:
    """The tagged form of a value of modest size. Raises: NotPlainData, naming what has no form or is too large."""
    if value is None or value is True or value is False:
        return value
    check_size(value)
    return encode_restorable(value)


def check_size(value: Any) -> Any:
    """The value itself, when it and what it holds are not too much. Raises: NotPlainData."""
    if measure_plain is not None:
        fault = measure_plain(value, LIMITS)
        if fault is None:
            return value
        if fault:
            raise NotPlainData(fault)
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
