"""The arguments that make a call again.

In: a code object and the values of its parameters. Out: (args, kwargs). Nothing here runs code of the project.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType, FunctionType
from typing import Any

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # CO_VARARGS, CO_VARKEYWORDS


def num_parameters(code: CodeType) -> int:
    """Of the first names of co_varnames: those that a call gives values to, *args and **kwargs among them."""
    stars = bool(code.co_flags & _VARARGS) + bool(code.co_flags & _VARKEYWORDS)
    return code.co_argcount + code.co_kwonlyargcount + stars


def call_arguments(
    code: CodeType, values: Sequence[Any], function: FunctionType | None
) -> tuple[list[Any], dict[str, Any]]:
    """The (args, kwargs) that make this call again, arguments that are their parameter's default left out.

    values: of the first num_parameters(code) names. function: to know the defaults; None: all arguments are given.
    """
    names, count = code.co_varnames, code.co_argcount
    args, kwargs = list(values[:count]), {}
    position = count + code.co_kwonlyargcount
    if position > count:
        missing = object()
        defaults_by_name = (function.__kwdefaults__ if function else None) or {}
        for name, value in zip(names[count:position], values[count:position], strict=True):
            if value is not defaults_by_name.get(name, missing):
                kwargs[name] = value
    extra: tuple[Any, ...] = ()
    if code.co_flags & _VARARGS:
        extra = values[position]
        position += 1
    if code.co_flags & _VARKEYWORDS:
        kwargs.update(values[position])
    defaults = function.__defaults__ if function else None
    if not defaults:
        return [*args, *extra], kwargs
    required = count - len(defaults)
    given = [at for at in range(required, count) if args[at] is not defaults[at - required]]
    first = next((at for at in range(required, count) if at not in given), count)
    by_name = [at for at in given if at > first]
    if extra or any(at < code.co_posonlyargcount for at in by_name):
        return [*args, *extra], kwargs
    return args[:first], {**{names[at]: args[at] for at in by_name}, **kwargs}
