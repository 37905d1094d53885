"""Python values of the exact builtin types as JSON, and back: how arguments and results cross a process border.

Nothing is ever pickled: an untrusted program can only send data, of these types, within these limits. JSON's own null,
true, false, strings, lists and integers up to 2**53 stand for themselves; everything else is {tag: payload}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
MAX_ITEMS = 1_000_000
_EXACT_INTEGERS = 1 << 53
_MAX_INTEGER_BITS = 1 << 17


class NotPlainData(ValueError):
    """The value is not of the exact builtin types, or exceeds a limit (or the JSON is not of this form)."""


Extra = Callable[[Any], Any]
"""For a value that is no plain data: its form. Raises NotPlainData where it has none."""
ExtraBack = Callable[[Any, Any], Any]
"""For a tag that stands for no plain data, and its payload: the value. Raises NotPlainData where there is none."""


def encode(value: Any, extra: Extra | None = None) -> Any:
    """A JSON-able form of `value`. Raises NotPlainData for subclasses, objects, cycles, too deep or large values.

    extra: what is asked for the forms of other values (sandbox/border.py).

    >>> encode((1, {"a": 2.5}))
    {'t': [1, {'d': [['a', {'f': '0x1.4000000000000p+1'}]]}]}
    """
    return _Encoder(extra).encode(value, 0)


def decode(data: Any, extra: ExtraBack | None = None) -> Any:
    """The value that encode() was given. Raises NotPlainData for anything encode() does not make."""
    return _Decoder(extra).decode(data, 0)


class _Counter:
    """Counts items, so that a small message cannot stand for a huge value."""

    def __init__(self) -> None:
        self.items = 0

    def enter(self, depth: int) -> None:
        self.items += 1
        if depth > MAX_DEPTH:
            raise NotPlainData(f"nested deeper than {MAX_DEPTH}")
        if self.items > MAX_ITEMS:
            raise NotPlainData(f"more than {MAX_ITEMS} items")


class _Encoder(_Counter):
    def __init__(self, extra: Extra | None) -> None:
        super().__init__()
        self._extra = extra

    def encode(self, value: Any, depth: int) -> Any:
        self.enter(depth)
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return self._integer(value)
        if kind is list:
            return self._items(value, depth)
        # Only such a type is asked for its hash: another metaclass may have one of its own.
        scalar = _ENCODE_SCALAR.get(kind) if type(kind) is type else None
        if scalar is not None:
            tag, convert = scalar
            return {tag: convert(value)}
        if kind is tuple:
            return {"t": self._items(value, depth)}
        if kind is dict:
            return {"d": [[self.encode(k, depth + 1), self.encode(v, depth + 1)] for k, v in value.items()]}
        if kind is set or kind is frozenset:
            # Sorted by text, so that equal sets have equal forms whatever the hash seed.
            return {"s" if kind is set else "z": sorted(self._items(value, depth), key=repr)}
        if self._extra is not None:
            return self._extra(value)
        raise NotPlainData(f"not plain data: {kind.__name__}")

    def _items(self, values: Any, depth: int) -> list[Any]:
        return [self.encode(item, depth + 1) for item in values]

    def _integer(self, value: int) -> Any:
        if -_EXACT_INTEGERS < value < _EXACT_INTEGERS:
            return value
        if value.bit_length() > _MAX_INTEGER_BITS:
            raise NotPlainData(f"an integer of more than {_MAX_INTEGER_BITS} bits")
        return {"i": hex(value)}


class _Decoder(_Counter):
    def __init__(self, extra: ExtraBack | None) -> None:
        super().__init__()
        self._extra = extra

    def decode(self, data: Any, depth: int) -> Any:
        self.enter(depth)
        kind = type(data)
        if data is None or kind is bool or kind is str or kind is int:
            return data
        if kind is list:
            return self._items(data, depth)
        if kind is not dict or len(data) != 1:
            raise NotPlainData("not a tagged value")
        ((tag, payload),) = data.items()
        try:
            return self._tagged(tag, payload, depth)
        except (TypeError, ValueError, OverflowError) as error:
            raise NotPlainData(f"bad payload of tag {tag!r}: {error}") from error

    def _tagged(self, tag: str, payload: Any, depth: int) -> Any:
        scalar = _DECODE_SCALAR.get(tag)
        if scalar is not None:
            return scalar(payload)
        if self._extra is not None and tag != "d" and tag not in _CONTAINERS:
            return self._extra(tag, payload)
        if type(payload) is not list:
            raise NotPlainData("not a tagged value")
        if tag == "d":
            return {self.decode(key, depth + 1): self.decode(value, depth + 1) for key, value in payload}
        container = _CONTAINERS.get(tag)
        if container is None:
            raise NotPlainData(f"unknown tag {tag!r}")
        return container(self._items(payload, depth))

    def _items(self, values: list[Any], depth: int) -> list[Any]:
        return [self.decode(item, depth + 1) for item in values]


def _complex(parts: list[str]) -> complex:
    real, imaginary = parts
    return complex(float.fromhex(real), float.fromhex(imaginary))


def _range(bounds: list[int]) -> range:
    start, stop, step = bounds
    return range(start, stop, step)


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_BITS // 4 + 3:
        raise NotPlainData("integer too large")
    return int(text, 16)


_ENCODE_SCALAR: dict[type, tuple[str, Callable[[Any], Any]]] = {
    float: ("f", float.hex),
    complex: ("c", lambda value: [value.real.hex(), value.imag.hex()]),
    bytes: ("b", bytes.hex),
    bytearray: ("B", bytearray.hex),
    range: ("r", lambda value: [value.start, value.stop, value.step]),
}

_DECODE_SCALAR: dict[str, Callable[[Any], Any]] = {
    "f": float.fromhex,
    "c": _complex,
    "b": bytes.fromhex,
    "B": bytearray.fromhex,
    "r": _range,
    "i": _integer,
}

_CONTAINERS: dict[str, Callable[[list[Any]], Any]] = {"t": tuple, "s": set, "z": frozenset}
