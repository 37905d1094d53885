"""Tagged JSON of unknown origin as text that is equal for equal values, in time n log n whatever the values are.

In: a form (tagged.py). Out: its text. Equality is Python's, but nan equals nan. No value is put into a set or dict:
hashes of numbers can be made to collide, those of text cannot.
"""

from __future__ import annotations

from typing import Any

from megatron_codex.tagged import MAX_DEPTH, NotPlainData, decode

Number = int | float | complex


def canonical_text(form: Any) -> str:
    """Raises: NotPlainData for a malformed form."""
    parts: list[str] = []
    _write(form, parts, 0)
    return "".join(parts)


def number_of(form: Any) -> Number | None:
    """The number that a form stands for; None for anything else. Raises: NotPlainData."""
    value = decode(form) if type(form) is dict and form.keys() & {"f", "i", "c"} else form
    return value if type(value) in (bool, int, float, complex) else None


def _write(form: Any, parts: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotPlainData(f"nested deeper than {MAX_DEPTH}")
    if form is None:
        parts.append("None")
    elif type(form) is str:
        parts.append(f'"{len(form)}"{form}')  # by its length, so that no text looks like another value
    elif type(form) is list:
        _write_items("[", form, parts, depth)
    elif type(form) in (bool, int):
        parts.append(_number_text(form))
    elif type(form) is dict and len(form) == 1:
        ((tag, payload),) = form.items()
        _write_tagged(tag, payload, parts, depth)
    else:
        raise NotPlainData("not a tagged value")


def _write_tagged(tag: Any, payload: Any, parts: list[str], depth: int) -> None:
    if tag in ("t", "s", "z", "d") and type(payload) is not list:
        raise NotPlainData("not a tagged value")
    if tag == "t":
        _write_items("(", payload, parts, depth)
    elif tag in ("s", "z"):
        parts += ["{", *(f"{text}," for text in sorted({_text(item, depth + 1) for item in payload})), "}"]
    elif tag == "d":
        if any(type(pair) is not list or len(pair) != 2 for pair in payload):
            raise NotPlainData("not a tagged value")
        # A key that comes twice has its last value, as in a dict.
        last = {_text(key, depth + 1): value for key, value in payload}
        parts += ["<", *(f"{key}:{_text(last[key], depth + 1)}," for key in sorted(last)), ">"]
    else:
        parts.append(_scalar_text(decode({tag: payload})))


def _write_items(opening: str, items: list[Any], parts: list[str], depth: int) -> None:
    parts.append(opening)
    for item in items:
        _write(item, parts, depth + 1)
        parts.append(",")
    parts.append("]")


def _text(form: Any, depth: int) -> str:
    parts: list[str] = []
    _write(form, parts, depth)
    return "".join(parts)


def _scalar_text(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return f"b{value.hex()}"
    if isinstance(value, range):
        return f"r{value[0]}/{value[-1]}/{value.step if value[0] != value[-1] else 0}" if value else "r"
    if isinstance(value, complex):
        return f"{_number_text(value.real)}+{_number_text(value.imag)}j" if value.imag else _number_text(value.real)
    return _number_text(value)


def _number_text(value: float) -> str:
    if isinstance(value, float) and not value.is_integer():
        return value.hex()
    return hex(int(value))
