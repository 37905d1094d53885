"""Arguments that JSON made lists and strings of, given back the types that calls written in Python show.

In: calls of a function in source text; arguments from JSON. Out: the same with tuples, sets and complex numbers where
the calls have them. EvalPlus's MBPP inputs are stored as JSON, its assertions as Python.

>>> restore([[[1, 2], [3, 4]]], calls_of("assert f([(1, 2)]) == 3", "f"))
[[(1, 2), (3, 4)]]
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from megatron_codex.problems.functions import NotSplit, parse_source

Call = tuple[Any, ...]


@dataclass
class Shape:
    """The types seen in one place, and the shape of what they hold: a list's items have one shape, a dict's values."""

    kinds: list[type] = field(default_factory=list)
    items: Shape | None = None

    def see(self, value: Any) -> None:
        if type(value) not in self.kinds:
            self.kinds.append(type(value))
        held = value.values() if isinstance(value, dict) else value
        if isinstance(held, (str, bytes)) or not hasattr(held, "__iter__"):
            return
        for item in held:
            self.items = self.items or Shape()
            self.items.see(item)


def calls_of(source: str, name: str) -> list[Call]:
    """The arguments of each call of `name` that has literals only. Source that is no Python has none."""
    try:
        tree = parse_source(source)
    except NotSplit:
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = []
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == name and not call.keywords:
            try:
                found.append(tuple(ast.literal_eval(arg) for arg in call.args))
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
    return found


def restore(inputs: Sequence[Sequence[Any]], calls: Sequence[Call]) -> list[list[Any]]:
    """Each input with the types of the calls, place by place. Where the calls show nothing it stays as it is."""
    shapes: dict[int, Shape] = {}
    for call in calls:
        for place, value in enumerate(call):
            shapes.setdefault(place, Shape()).see(value)
    return [[_restored(value, shapes.get(place), list) for place, value in enumerate(args)] for args in inputs]


def _restored(value: Any, shape: Shape | None, outer: type) -> Any:
    """outer: the type of what holds it, which a list deeper than the calls go takes, too."""
    kinds = shape.kinds if shape else []
    inner = shape.items if shape else None
    if isinstance(value, dict):
        return {key: _restored(item, inner, list) for key, item in value.items()}
    if isinstance(value, list):
        kind = _kind_of_list(kinds, outer, empty=not value)
        items = [_restored(item, inner, kind) for item in value]
        return kind(items) if kind is not dict else {}
    if isinstance(value, str) and kinds and str not in kinds:
        return _number(value, complex if complex in kinds else None)
    return value


def _kind_of_list(kinds: Sequence[type], outer: type, *, empty: bool) -> type:
    if dict in kinds and empty and list not in kinds:
        return dict  # written down as the items that it has not
    if list in kinds:
        return list
    for kind in (tuple, set, frozenset):
        if kind in kinds:
            return kind
    return tuple if outer is tuple else list


def _number(text: str, kind: Callable[[str], Any] | None) -> Any:
    for convert in (kind,) if kind else (int, float, complex):
        try:
            return convert(text)
        except ValueError:
            continue
    return text
