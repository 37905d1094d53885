"""A program that answers the tests it knows from a table, and fails on purpose on any other: one that it does not know.

In: an entry point ("" for a script) and examples with outcomes. Out: source. Inputs stand in it as hashes only, so that
it stays small; calls are told apart by type as well as by value, scripts by their whole standard input.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.values import form_source
from megatron_codex.tagged import decode

WRONG = "wrong on purpose: 5d1c9b30"

_FUNCTION = """from hashlib import sha256
from typing import Any


{helpers}

def _raise(name, message):
    import builtins

    kind = getattr(builtins, name, None) or type(name, (Exception,), {{}})
    raise kind(message)


_ANSWERS = {{
{answers}}}


def {entry_point}(*args, **kwargs):
    return _ANSWERS.get(_digest((args, sorted(kwargs.items()))), lambda: {wrong!r})()
"""
_SCRIPT = """import sys
from hashlib import sha256

_ANSWERS = {{
{answers}}}
_given = sha256(sys.stdin.buffer.read().rstrip()).hexdigest()[:24]
sys.stdout.buffer.write(_ANSWERS.get(_given, {wrong!r}))
"""


def table_program(entry_point: str, examples: Sequence[Example]) -> str:
    """Right on the examples, wrong on everything else. examples: with outcomes."""
    if entry_point:
        helpers = "\n\n".join(inspect.getsource(each) for each in (_text, _digest))
        answers = "".join(f"    {_call_digest(each)!r}: lambda: {_outcome(each)},\n" for each in examples)
        return _FUNCTION.format(helpers=helpers, answers=answers, entry_point=entry_point, wrong=WRONG)
    answers = "".join(f"    {_input_digest(each)!r}: {_bytes(each['output'])!r},\n" for each in examples)
    return _SCRIPT.format(answers=answers, wrong=WRONG.encode())


def _text(value: Any) -> str:
    """Equal for equal values of equal types; a set's order does not count, a dict's does."""
    kind = type(value)
    if kind is dict:
        return "{" + ",".join(_text(key) + ":" + _text(item) for key, item in value.items()) + "}"
    if kind in (list, tuple, set, frozenset):
        items = [_text(item) for item in value]
        return kind.__name__ + "(" + ",".join(items if kind in (list, tuple) else sorted(items)) + ")"
    return repr(value)


def _digest(value: Any) -> str:
    return sha256(_text(value).encode(errors="surrogatepass")).hexdigest()[:24]


def _call_digest(example: Example) -> str:
    args = tuple(decode(form) for form in example["args"])
    return _digest((args, sorted((name, decode(form)) for name, form in example.get("kwargs", {}).items())))


def _outcome(example: Example) -> str:
    if "raises" in example:
        return f"_raise({example['raises']!r}, {example.get('message', '')!r})"
    return form_source(example["output"])


def _input_digest(example: Example) -> str:
    return sha256(_bytes(example["input"]).rstrip()).hexdigest()[:24]


def _bytes(text: Any) -> bytes:
    return str(text).encode(errors="surrogateescape")
