"""Whether a script's output is the expected one: in the driver, on bytes of unknown origin.

In: what it wrote, an example of records.Problem.stdio_examples. Out: "" or what differs. Space at the ends of lines and
at the end of the output never counts. "compare" is "lines" (default) or "tokens", for which any white space separates.
With "tolerance", which means tokens, two numbers of which at least one is no integer may differ by that much
(comparison.py). Time is linear; nothing is split that need not be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from megatron_codex.sandbox.comparison import Tolerance, is_close

COMPARISONS = ("lines", "tokens")
_MAX_SHOWN_CHARS = 100
_TOKEN = re.compile(rb"\S+")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,400}")
_NUMBER = re.compile(rb"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?")


def output_difference(actual: bytes, example: Mapping[str, Any]) -> str:
    """Empty when the output is right. example: "output", and as above "compare", "tolerance", "relative_tolerance"."""
    expected = example["output"].encode(errors="surrogateescape").rstrip()
    actual = actual.rstrip()
    if actual == expected:
        return ""
    tolerance = Tolerance.of(example)
    if tolerance is not None or example.get("compare") == "tokens":
        name, pairs = "token", zip_longest(_tokens(actual), _tokens(expected))
    else:
        name, pairs = "line", zip_longest(_lines(actual), _lines(expected))
    for number, (ours, theirs) in enumerate(pairs, 1):
        if ours != theirs and not (ours and theirs and tolerance and _are_close(ours, theirs, tolerance)):
            return f"{name} {number} is {_shorten(ours)}, expected {_shorten(theirs)}"
    return ""


def _tokens(text: bytes) -> Iterator[bytes]:
    return (match.group() for match in _TOKEN.finditer(text))


def _lines(text: bytes) -> Iterator[bytes]:
    start = 0
    while start <= len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end].rstrip()
        start = end + 1


def _are_close(actual: bytes, expected: bytes, tolerance: Tolerance) -> bool:
    if _INTEGER.fullmatch(actual) and _INTEGER.fullmatch(expected):
        return False  # integers are exact
    if not (_NUMBER.fullmatch(actual) and _NUMBER.fullmatch(expected)):
        return False
    return is_close(float(actual), float(expected), tolerance)


def _shorten(text: bytes | None) -> str:
    if text is None:
        return "missing"
    shown = text[:_MAX_SHOWN_CHARS].decode(errors="replace")
    return repr(shown) if len(text) <= _MAX_SHOWN_CHARS else repr(shown) + "..."
