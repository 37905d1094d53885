"""Inside the jail: loads an untrusted program and answers calls to one of its functions, with plain data only.

In: one frame {"source", "entry_point"}, then frames {"calls": [{"args", "kwargs"}]}. Out: {"loaded": true}, then one
answer a call. Nothing here is trusted after the program has been loaded: it shares this process. Whoever reads the
answers therefore takes them for what they are, data of unknown origin.
"""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Callable
from itertools import islice
from typing import Any, NoReturn

from megatron_codex.sandbox.frames import BrokenFrame, read_frame, write_frame
from megatron_codex.sandbox.plain import as_plain
from megatron_codex.tagged import NotPlainData, decode, encode

MODULE_NAME = "solution"
MAX_ITERATOR_ITEMS = 100_000
_MAX_MESSAGE_CHARS = 500
_MUTABLE = (list, dict, set, bytearray)


def serve(channel: int) -> NoReturn:
    """Answer until the caller closes the channel."""
    job = read_frame(channel)
    try:
        function = load_function(job["source"], job["entry_point"])
    except BaseException as error:
        write_frame(channel, describe_exception(error))
        os._exit(1)
    write_frame(channel, {"loaded": True})
    while True:
        try:
            calls = read_frame(channel)["calls"]
        except EOFError:
            os._exit(0)
        for call in calls:
            _send(channel, answer(function, call))


def warm_up() -> None:
    """In the worker, before it forks: what every program's first call sets up, Python sets up once."""
    function = load_function("def f(x):\n    return x\n", "f")
    for value in (1, "a", [1.5]):
        reply = answer(function, json.loads(json.dumps({"args": [encode(value)], "kwargs": {}})))
        json.dumps(reply)
    del sys.modules[MODULE_NAME]


def load_function(source: str, entry_point: str) -> Callable[..., Any]:
    """Run the program as a module (dataclasses look theirs up in sys.modules) and take one name of it."""
    module = types.ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module
    exec(compile(source, f"<{MODULE_NAME}>", "exec", dont_inherit=True), module.__dict__)
    if entry_point not in module.__dict__:
        raise NameError(f"name {entry_point!r} is not defined")
    function: Callable[..., Any] = module.__dict__[entry_point]
    return function


def answer(function: Callable[..., Any], call: dict[str, Any]) -> dict[str, Any]:
    """One call's answer: "value", "iterator", "raised" or "unsupported"; and "args" where an argument was changed."""
    args = [decode(form) for form in call["args"]]
    kwargs = {name: decode(form) for name, form in call["kwargs"].items()}
    try:
        value = function(*args, **kwargs)
        reply = _describe_value(value)
    except BaseException as error:
        return {**describe_exception(error), **_changes(args, call["args"])}
    if type(value) in _MUTABLE:
        reply["same_as"] = next((index for index, each in enumerate(args) if each is value), None)
    return {**reply, **_changes(args, call["args"])}


def describe_exception(error: BaseException) -> dict[str, Any]:
    """The names of the exception's classes, most special first, and its message."""
    try:
        message = str(error)[:_MAX_MESSAGE_CHARS]
    except BaseException:
        message = "its message cannot be made"
    return {"raised": [kind.__name__ for kind in type(error).__mro__], "message": message}


def _describe_value(value: Any) -> dict[str, Any]:
    try:
        return {"value": encode(value)}
    except (NotPlainData, RecursionError):
        pass
    try:
        if hasattr(type(value), "__next__"):
            # A generator, map or zip: the caller gets an iterator over the same items.
            return {"iterator": encode([as_plain(item) for item in islice(value, MAX_ITERATOR_ITEMS)])}
        return {"value": encode(as_plain(value))}
    except NotPlainData as error:
        return {"unsupported": f"the answer is no plain data: {error}"}
    except RecursionError:
        return {"unsupported": "the answer is no plain data: nested too deep"}


def _changes(args: list[Any], before: list[Any]) -> dict[str, Any]:
    """The arguments as they are now, where the function changed one in place: the caller's must change too."""
    try:
        after = [encode(as_plain(each)) for each in args]
    except (NotPlainData, RecursionError) as error:
        return {"unsupported": f"an argument was filled with what is no plain data: {error}"}
    return {} if after == before else {"args": after}


def _send(channel: int, reply: dict[str, Any]) -> None:
    try:
        write_frame(channel, reply)
    except (BrokenFrame, RecursionError, UnicodeError) as error:
        write_frame(channel, {"unsupported": f"the answer cannot be sent: {error}"})
