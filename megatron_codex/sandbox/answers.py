"""What a candidate answers to a call: the definition, of which csrc/sandbox/candidate.c does the common cases.

In: a function, a call {"args", "kwargs"} of tagged forms. Out: {"value"}, {"iterator"}, {"raised", "message"} or
{"unsupported"}; and "args" where an argument was changed. It runs in the candidate's process: nobody trusts it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from megatron_codex.sandbox.exceptions import form_of_exception
from megatron_codex.sandbox.frames import BrokenFrame, pack_frame
from megatron_codex.sandbox.plain import as_plain
from megatron_codex.tagged import NotPlainData, decode, encode

MAX_ITERATOR_ITEMS = 100_000
_MUTABLE = (list, dict, set, bytearray)
_UNCHANGEABLE = frozenset({type(None), bool, int, float, complex, str, bytes, range})


def encode_equal(value: Any) -> Any:
    """Plain data that is equal to the value, encoded."""
    try:
        return encode(value)
    except NotPlainData:
        return encode(as_plain(value))


def answer(
    function: Callable[..., Any],
    call: dict[str, Any],
    *,
    decode: Callable[[Any], Any] = decode,
    encode: Callable[[Any], Any] = encode_equal,
) -> dict[str, Any]:
    """Make one call and describe what came of it."""
    args = [decode(form) for form in call["args"]]
    kwargs = {name: decode(form) for name, form in call["kwargs"].items()}
    value, raised = None, None
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        raised = error
    return describe(call, [*args, *kwargs.values()], value, raised, encode=encode)


def describe(
    call: dict[str, Any],
    arguments: list[Any],
    value: Any,
    raised: BaseException | None,
    *,
    encode: Callable[[Any], Any] = encode_equal,
) -> dict[str, Any]:
    """The answer to a call that was made.

    arguments: as they are now, the positional ones and after them those by name; "args" has the same order. same_as in
    the answer: the one that is returned, by its place.
    """
    before = [*call["args"], *call["kwargs"].values()]
    reply: dict[str, Any] = {}
    if raised is None:
        try:
            reply = _describe_value(value, encode)
        except BaseException as error:  # of an iterator's own code
            raised = error
    if raised is not None:
        reply = form_of_exception(raised)
    elif type(value) in _MUTABLE:
        reply["same_as"] = next((index for index, each in enumerate(arguments) if each is value), None)
    return {**reply, **_changes(arguments, before, encode)}


def pack_answer(reply: dict[str, Any]) -> bytes:
    """The frame of an answer, or of why it cannot be sent."""
    try:
        return pack_frame(reply)
    except (BrokenFrame, RecursionError, UnicodeError) as error:
        return pack_frame({"unsupported": f"the answer cannot be sent: {error}"})


def _describe_value(value: Any, encode: Callable[[Any], Any]) -> dict[str, Any]:
    try:
        return {"value": encode(value)}
    except (NotPlainData, RecursionError) as error:
        fault = error
    try:
        if not hasattr(type(value), "__next__"):
            raise fault
        # A generator, map or zip: the caller gets an iterator over the same items.
        return {"iterator": encode(list(islice(value, MAX_ITERATOR_ITEMS)))}
    except NotPlainData as error:
        return {"unsupported": f"the answer is no plain data: {error}"}
    except RecursionError:
        return {"unsupported": "the answer is no plain data: nested too deep"}


def _changes(args: list[Any], before: list[Any], encode: Callable[[Any], Any]) -> dict[str, Any]:
    """The arguments as they are now, where the function changed one in place: the caller's must change too."""
    if all(type(each) in _UNCHANGEABLE for each in args):
        return {}
    try:
        after = [encode(each) for each in args]
    except (NotPlainData, RecursionError) as error:
        return {"unsupported": f"an argument was filled with what is no plain data: {error}"}
    return {} if after == before else {"args": after}
