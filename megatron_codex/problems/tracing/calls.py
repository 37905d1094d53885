"""One call as data: the arguments that make it again, as long as they are plain and of modest size.

In: a frame's code and values. Out: (args, kwargs). Nothing here runs code of the project.
"""

from __future__ import annotations

import functools
from types import CodeType, FunctionType
from typing import Any

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # CO_VARARGS, CO_VARKEYWORDS
_MAX_ITEMS, _MAX_CHARACTERS, _MAX_DEPTH, _MAX_INTEGER_BITS = 200, 2_000, 8, 1_024
_MAX_WRAPPERS = 8
_SCALARS = (type(None), bool, float, complex)
_SEQUENCES = (list, tuple, set, frozenset)


class NotPlain(Exception):
    """Carries the name of the type that is not plain, or says what is too large."""


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


def check_plain(value: Any) -> Any:
    """The value itself, when it is plain data of modest size. Raises NotPlain."""
    _measure(value, 0, [_MAX_ITEMS, _MAX_CHARACTERS])
    return value


def _measure(value: Any, depth: int, left: list[int]) -> None:
    kind = type(value)
    left[0] -= 1
    if left[0] < 0 or depth > _MAX_DEPTH:
        raise NotPlain("too many items" if left[0] < 0 else "nested too deep")
    if kind in _SCALARS:
        return
    if kind is int:
        if value.bit_length() > _MAX_INTEGER_BITS:
            raise NotPlain("too large an int")
    elif kind is str or kind is bytes or kind is bytearray:
        left[1] -= len(value)
        if left[1] < 0:
            raise NotPlain("too long a text")
    elif kind in _SEQUENCES:
        for item in value:
            _measure(item, depth + 1, left)
    elif kind is dict:
        for key, item in value.items():
            _measure(key, depth + 1, left)
            _measure(item, depth + 1, left)
    elif kind is not range:
        raise NotPlain(kind.__name__)


def function_of(code: CodeType, value: Any) -> FunctionType | None:
    """The function whose code this is, looked for under the wrappers that leave a __wrapped__."""
    for _ in range(_MAX_WRAPPERS):
        if type(value) is FunctionType and value.__code__ is code:
            return value
        # Other objects are not asked: their __getattr__ would be the project's code.
        if type(value) not in (FunctionType, functools._lru_cache_wrapper):
            return None
        value = value.__dict__.get("__wrapped__")
    return None
