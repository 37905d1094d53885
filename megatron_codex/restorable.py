"""Values of the standard library's and NumPy's types as tagged JSON, and back: restored by their constructors.

In: a value of exactly one of TYPES, or a fresh iterator. Out: two tags beside those of tagged.py:
    {"x": ["decimal.Decimal", ["1.50"]]}    the name of a constructor in TYPES, and its arguments' forms
    {"I": [1, 2]}                           an iterator over a list, tuple, range or text, by the items that it has left
Whoever receives a form calls his own constructor of that name: equality is the receiver's. A subclass has no form.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from megatron_codex.tagged import NotPlainData

MAX_ITERATOR_ITEMS = 10_000
_MAX_EXPONENT = 10_000
_MAX_PATTERN_CHARS = 2_000
_MAX_ARRAY_ITEMS = 10_000
_SEQUENCES = (list, tuple, str, range)
_ITERATORS: set[type] = set(map(type, (iter([]), iter(()), iter(""), iter("\u00e9"), iter(range(0)))))
_MODULES = {"pathlib._local": "pathlib", "zoneinfo._zoneinfo": "zoneinfo"}
_NUMPY_SCALARS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
_NUMPY_SCALARS += ["float16", "float32", "float64", "complex64", "complex128", "bool", "bool_"]

Form = Callable[[Any], Any]
"""Of a part of the value: its form (or, the other way, the value of a form)."""


def standard_form(value: Any, encode: Form) -> Any:
    """The form of a value of these types. encode: makes the forms of its parts. Raises: NotPlainData."""
    kind = type(value)
    parts = [encode(part) for part in standard_parts(value)]
    return {"I": parts} if _is_iterator(kind) else {"x": [name_of(kind), parts]}


def standard_parts(value: Any) -> list[Any]:
    """The items of an iterator, or the arguments of the constructor. Raises: NotPlainData."""
    kind = type(value)
    if _is_iterator(kind):
        return list(_items_left(value))
    name = name_of(kind)
    if name is None:
        raise NotPlainData(type.__dict__["__name__"].__get__(kind))
    return TYPES[name](value)


def standard_value(tag: Any, payload: Any, decode: Form) -> Any:
    """What standard_form was given. Raises: NotPlainData for anything that it does not make."""
    if type(payload) is list and tag == "I":
        return iter([decode(item) for item in payload])
    if tag != "x" or type(payload) is not list or len(payload) != 2 or type(payload[1]) is not list:
        raise NotPlainData(f"bad payload of tag {tag!r}")
    name, parts = payload
    if type(name) is not str or name not in TYPES:
        raise NotPlainData("a constructor has no such name")
    try:
        value = _construct(name, [decode(part) for part in parts])
        _check_bounds(value, name)
    except NotPlainData:
        raise
    except Exception as error:  # what a constructor raises for arguments that it does not like
        raise NotPlainData(f"bad arguments of {name}: {type(error).__name__}: {error}") from error
    return value


def is_standard(kind: type) -> bool:
    """Whether standard_form takes values of this type (some only: an array may be too large)."""
    return _is_iterator(kind) or name_of(kind) is not None


def _is_iterator(kind: type) -> bool:
    return type(kind) is type and kind in _ITERATORS


def name_of(kind: type) -> str | None:
    """The name of a type of TYPES; None for any other, whatever it calls itself."""
    # Not by attribute: a metaclass may answer as it likes.
    module, name = type.__dict__["__module__"].__get__(kind), type.__dict__["__name__"].__get__(kind)
    if type(module) is not str:
        return None
    full = "numpy.array" if (module, name) == ("numpy", "ndarray") else f"{_MODULES.get(module, module)}.{name}"
    if full not in TYPES or names_of_module(full.rpartition(".")[0]).get(name) is not kind:
        return None
    return full


def names_of_module(name: str) -> dict[str, Any]:
    """What an imported module holds; empty for what is no plain module: its __getattr__ is not asked."""
    module = sys.modules.get(name)
    return vars(module) if type(module) is ModuleType else {}


def constructor_of(name: str) -> str:
    """What is called with the arguments of an {"x": ...}, as source: module and function."""
    return "re.compile" if name == "re.Pattern" else name


def _construct(name: str, parts: list[Any]) -> Any:
    if name == "numpy.array":
        items, dtype, shape = parts
        if len(items) > _MAX_ARRAY_ITEMS:
            raise NotPlainData(f"an array of more than {_MAX_ARRAY_ITEMS} items")
        return importlib.import_module("numpy").array(items, dtype=dtype).reshape(shape)
    if name == "collections.defaultdict" and not (parts[0] is None or isinstance(parts[0], type)):
        raise NotPlainData("a defaultdict whose default is made by a function")
    if name == "re.Pattern" and len(parts[0]) > _MAX_PATTERN_CHARS:
        raise NotPlainData(f"a pattern of more than {_MAX_PATTERN_CHARS} characters")
    module, _, function = constructor_of(name).rpartition(".")
    return getattr(importlib.import_module(module), function)(*parts)


def _check_bounds(value: Any, name: str) -> None:
    """Refuse numbers whose comparison with others would need their digits written out."""
    if name == "decimal.Decimal" and value.is_finite() and value and abs(value.adjusted()) > _MAX_EXPONENT:
        raise NotPlainData(f"a Decimal of an exponent beyond {_MAX_EXPONENT}")


def _items_left(iterator: Any) -> Any:
    """Without taking them: __reduce__ of these builtin types tells what they go over, and where they are."""
    _, arguments, *position = iterator.__reduce__()
    sequence, start = arguments[0], (position[0] if position else 0) or 0
    if type(sequence) not in _SEQUENCES:  # of a subclass: its own methods would be asked
        raise NotPlainData("an iterator over no plain sequence")
    if len(sequence) - start > MAX_ITERATOR_ITEMS:
        raise NotPlainData(f"an iterator over more than {MAX_ITERATOR_ITEMS} items")
    return sequence[start:]


def _time_parts(value: Any, *names: str) -> list[Any]:
    if value.fold:
        raise NotPlainData("a time that comes twice")
    parts = [getattr(value, name) for name in names]
    zone = value.tzinfo
    if zone is None:
        while len(parts) > 3 and not parts[-1]:
            parts.pop()
        return parts
    return [*parts, zone]


def _array_parts(value: Any) -> list[Any]:
    if value.dtype.kind not in "biufcUS" or value.size > _MAX_ARRAY_ITEMS:
        raise NotPlainData(f"an array of {value.size} items of type {value.dtype}")
    return [value.ravel().tolist(), value.dtype.str, list(value.shape)]


def _item(value: Any) -> list[Any]:
    return [value.item()]


def _text(value: Any) -> list[Any]:
    return [str(value)]


_DAY, _CLOCK = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")

TYPES: dict[str, Callable[[Any], list[Any]]] = {
    "decimal.Decimal": _text,
    "fractions.Fraction": lambda value: [value.numerator, value.denominator],
    "datetime.date": lambda value: [value.year, value.month, value.day],
    "datetime.time": lambda value: _time_parts(value, *_CLOCK),
    "datetime.datetime": lambda value: _time_parts(value, *_DAY, *_CLOCK),
    "datetime.timedelta": lambda value: [value.days, value.seconds, value.microseconds],
    "datetime.timezone": lambda value: list(value.__getinitargs__()),
    "zoneinfo.ZoneInfo": _text,
    "pathlib.PurePosixPath": _text,
    "pathlib.PureWindowsPath": _text,
    "pathlib.PosixPath": _text,
    "uuid.UUID": _text,
    "re.Pattern": lambda value: [value.pattern, value.flags],
    "collections.deque": lambda value: [list(value), *([] if value.maxlen is None else [value.maxlen])],
    "collections.OrderedDict": lambda value: [list(value.items())],
    "collections.Counter": lambda value: [dict(dict.items(value))],
    "collections.defaultdict": lambda value: [value.default_factory, dict(dict.items(value))],
    "numpy.array": _array_parts,
    **{f"numpy.{name}": _item for name in _NUMPY_SCALARS},
}
"""Name of a type -> its constructor's arguments, read off a value of exactly this type."""
