"""What kind of function a code object belongs to, and the function itself, for its defaults.

In: a code object and its module's names. Out: the kind, and the function where it can be found. No attribute of the
project's objects is asked for: what is looked at are the dictionaries of modules and classes.
"""

from __future__ import annotations

import functools
from types import CodeType, FunctionType
from typing import Any

from megatron_codex.restorable_objects import member_at

_GENERATOR, _COROUTINE = 0x20, 0x80 | 0x100 | 0x200  # CO_GENERATOR; CO_COROUTINE, CO_ITERABLE_..., CO_ASYNC_GENERATOR
_MAX_WRAPPERS = 8
KINDS = (
    "function", "method", "staticmethod", "classmethod", "property", "nested", "generator", "coroutine", "builtin",
)  # fmt: skip
"""generator, coroutine: of module level; those of a class have the kind of their binding (see is_generator)."""


def is_generator(code: CodeType) -> bool:
    """Whether its calls give generators."""
    return bool(code.co_flags & _GENERATOR)


def is_coroutine(code: CodeType) -> bool:
    """Whether its calls give coroutines or asynchronous generators."""
    return bool(code.co_flags & _COROUTINE)


def kind_of(code: CodeType, names: dict[str, Any]) -> tuple[str, FunctionType | None]:
    """(one of KINDS, the function). names: the globals of its module."""
    if "<locals>" in code.co_qualname:
        return "nested", None
    if "." in code.co_qualname:
        return _kind_in_class(code, names)
    kind = "coroutine" if is_coroutine(code) else "generator" if is_generator(code) else "function"
    return kind, function_of(code, dict.get(names, code.co_name))


def function_of(code: CodeType, value: Any) -> FunctionType | None:
    """The function whose code this is, looked for under the wrappers that leave a __wrapped__."""
    for _ in range(_MAX_WRAPPERS):
        if type(value) is FunctionType and value.__code__ is code:
            return value
        # Other objects are not asked: their __getattr__ would be the project's code.
        if type(value) is not FunctionType and type(value) is not functools._lru_cache_wrapper:
            return None
        value = value.__dict__.get("__wrapped__")
    return None


def _kind_in_class(code: CodeType, names: dict[str, Any]) -> tuple[str, FunctionType | None]:
    member = member_at(names, code.co_qualname)
    kind = type(member)
    if kind is staticmethod or kind is classmethod:
        return kind.__name__, function_of(code, member.__func__)
    if kind is property:
        parts = (member.fget, member.fset, member.fdel)
        return "property", next(filter(None, (function_of(code, part) for part in parts)), None)
    if kind is functools.cached_property:
        return "property", function_of(code, member.func)
    return "method", function_of(code, member)
