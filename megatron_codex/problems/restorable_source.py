"""A recorded value's form as Python source: an expression, and the statements that must stand before it.

In: tagged JSON with the tags of restorable.py and restorable_objects.py. Out: what makes the value again in a test.
Classes and functions of the project are called by their names alone: a problem's context defines them.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from megatron_codex.restorable import constructor_of
from megatron_codex.restorable_objects import decode_restorable
from megatron_codex.tagged import NotPlainData, decode

_OBJECT_HELPER = """\
def _object_of(kind, fields):
    made = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made
"""


def restorable_source(form: Any) -> tuple[str, tuple[str, ...]]:
    """(expression, imports) of a form, plain data included. imports: whole statements, sorted, each with its newline.

    Raises: NotPlainData for a malformed form.

    >>> restorable_source([1, {"x": ["decimal.Decimal", ["1.5"]]}])
    ("[1, decimal.Decimal('1.5')]", ('import decimal\\n',))
    """
    decode_restorable(form)
    imports: set[str] = set()
    return _source(form, imports), tuple(sorted(imports))


def names_in(form: Any) -> frozenset[tuple[str, str]]:
    """(module, dotted name) of each class and function that a checked form names, builtins and sys' modules too."""
    if type(form) is list:
        return frozenset().union(*map(names_in, form))
    if type(form) is not dict:
        return frozenset()
    ((tag, payload),) = form.items()
    if tag in ("m", "E"):
        return frozenset({(payload[0], payload[1])})
    if tag == "O":
        return names_in([field for _, field in payload[2]]) | {(payload[0], payload[1])}
    if tag == "N":
        return names_in(payload[2]) | {(payload[0], payload[1])}
    return names_in(payload[1] if tag == "x" else payload) if type(payload) is list else frozenset()


def _source(form: Any, imports: set[str]) -> str:
    if type(form) is list:
        return f"[{_join(form, imports)}]"
    if type(form) is not dict:
        return repr(form)
    ((tag, payload),) = form.items()
    if tag == "t":
        return f"({_join(payload, imports)}{',' if len(payload) == 1 else ''})"
    if tag in ("s", "z"):
        items = "{" + ", ".join(sorted(_source(item, imports) for item in payload)) + "}" if payload else ""
        return items if tag == "s" and payload else f"{'set' if tag == 's' else 'frozenset'}({items})"
    if tag == "d":
        return "{" + ", ".join(f"{_source(key, imports)}: {_source(item, imports)}" for key, item in payload) + "}"
    if tag == "I":
        return f"iter([{_join(payload, imports)}])"
    if tag == "x":
        name, parts = payload
        return _constructed(name, parts, imports)
    if tag in ("m", "E", "N", "O"):
        return _named(tag, payload, imports)
    return _scalar_source(decode(form))


def _constructed(name: str, parts: list[Any], imports: set[str]) -> str:
    constructor = constructor_of(name)
    imports.add(f"import {constructor.rpartition('.')[0]}\n")
    if name == "numpy.array":
        items, dtype, shape = parts
        return f"numpy.array([{_join(items, imports)}], dtype={dtype!r}).reshape({shape!r})"
    return f"{constructor}({_join(parts, imports)})"


def _named(tag: str, payload: list[Any], imports: set[str]) -> str:
    module: str = payload[0]
    name: str = payload[1]
    content = payload[2] if tag != "m" else []
    if module != "builtins" and module.partition(".")[0] in sys.stdlib_module_names:
        imports.add(f"import {module}\n")
        name = f"{module}.{name}"
    if not all(part.isidentifier() for part in name.split(".")):
        raise NotPlainData(f"{name!r} is no name")
    if tag == "m":
        return name
    if tag == "E":
        return f"{name}[{content!r}]"
    if tag == "N":
        return f"{name}._make([{_join(content, imports)}])"
    imports.add(_OBJECT_HELPER)
    fields = ", ".join(f"{field!r}: {_source(value, imports)}" for field, value in content)
    return f"_object_of({name}, {{{fields}}})"


def _join(forms: list[Any], imports: set[str]) -> str:
    return ", ".join(_source(form, imports) for form in forms)


def _scalar_source(value: Any) -> str:
    if type(value) is float and not math.isfinite(value):
        return f"float({str(value)!r})"
    if type(value) is complex:
        return f"complex({_scalar_source(value.real)}, {_scalar_source(value.imag)})"
    return repr(value)
