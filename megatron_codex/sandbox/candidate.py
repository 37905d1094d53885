"""Inside the jail: loads an untrusted program and answers calls to one of its functions.

In: one frame {"source", "entry_point"}, with "calls" or followed by frames {"calls": [{"args", "kwargs"}]}. Out:
{"loaded": true}, then one answer a call. A call with "objects" (a tester's) may hold and return all that border.py
names, else plain data only. Nothing here is trusted after the program has been loaded: it shares this process. Whoever
reads the answers therefore takes them for what they are, data of unknown origin.
"""

from __future__ import annotations

import json
import os
import sys
import types
from _thread import allocate_lock
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, NoReturn

from megatron_codex.sandbox.border import Border, Message, UnknownClassError
from megatron_codex.sandbox.exceptions import exception_of, form_of_exception
from megatron_codex.sandbox.frames import BrokenFrame, pack_frame, read_frame, write_bytes, write_frame
from megatron_codex.sandbox.plain import as_plain
from megatron_codex.sandbox.stack import keep_recursion_limit
from megatron_codex.tagged import NotPlainData, decode, encode

MODULE_NAME = "solution"
MAX_ITERATOR_ITEMS = 100_000
_MUTABLE = (list, dict, set, bytearray)
_UNCHANGEABLE = frozenset({type(None), bool, int, float, complex, str, bytes, range})


def serve(channel: int) -> NoReturn:
    """Answer until the caller closes the channel."""
    job = read_frame(channel)
    keep_recursion_limit()
    try:
        module = load_module(job["source"])
        function = function_of(module, job["entry_point"])
    except BaseException as error:
        write_frame(channel, form_of_exception(error))
        os._exit(1)
    answers = Answers(channel)
    answers.add({"loaded": True})
    caller: Caller | None = None
    calls = job.get("calls", ())
    while True:
        for call in calls:
            if "objects" in call:
                caller = caller or Caller(channel, module, function)
                answers.add(caller.answer(call))
            else:
                answers.add(answer(function, call))
        answers.send()
        try:
            calls = read_frame(channel)["calls"]
        except EOFError:
            os._exit(0)


class Answers:
    """Sent in growing groups: the first at once, then whenever as many wait as have been sent.

    So a program that is wrong early is found out early, and one that is right costs few messages. No clock decides:
    when a program dies, what was heard of it before does not depend on the machine.
    """

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._waiting = bytearray()
        self._num_waiting, self._num_sent = 0, 1  # "loaded" goes with the first

    def add(self, reply: dict[str, Any]) -> None:
        try:
            self._waiting += pack_frame(reply)
        except (BrokenFrame, RecursionError, UnicodeError) as error:
            self._waiting += pack_frame({"unsupported": f"the answer cannot be sent: {error}"})
        self._num_waiting += 1
        if self._num_waiting > self._num_sent:
            self.send()

    def send(self) -> None:
        write_bytes(self._channel, bytes(self._waiting))
        self._num_sent += self._num_waiting
        self._waiting.clear()
        self._num_waiting = 0


def warm_up() -> None:
    """In the worker, before it forks: what every program's first call sets up, Python sets up once."""
    function = function_of(load_module("def f(x):\n    return x\n"), "f")
    for value in (1, "a", [1.5]):
        json.dumps(answer(function, json.loads(json.dumps({"args": [encode(value)], "kwargs": {}}))))
    del sys.modules[MODULE_NAME]


def load_module(source: str) -> types.ModuleType:
    """Run the program as a module (dataclasses look theirs up in sys.modules)."""
    module = types.ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module
    exec(compile(source, f"<{MODULE_NAME}>", "exec", dont_inherit=True), module.__dict__)
    return module


def function_of(module: types.ModuleType, entry_point: str) -> Callable[..., Any]:
    """Of `function`, or of `Class.method`."""
    name, *attributes = entry_point.split(".")
    if name not in module.__dict__:
        raise NameError(f"name {name!r} is not defined")
    function: Callable[..., Any] = module.__dict__[name]
    for attribute in attributes:
        function = getattr(function, attribute)
    return function


def class_of(module: types.ModuleType, name: str) -> type[Any] | None:
    """The class of that name that the program itself defines."""
    found = module.__dict__.get(name)
    return found if isinstance(found, type) and found.__module__ == MODULE_NAME else None


class Caller:
    """Calls of a tester: what crosses, and the tester's functions, which the program may call back."""

    def __init__(self, channel: int, module: types.ModuleType, function: Callable[..., Any]) -> None:
        """function: the one under test, number 0 of those that are handed over."""
        self._channel = channel
        self._turn = allocate_lock()
        self.border = Border(partial(class_of, module), self._call_back, is_candidate=True)
        self.border.hand_over(function)

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """As answer(), with border.py's kinds of values and "objects", where there are any and they changed."""
        message = Message(self.border)
        try:
            function = self.border.function(call["function"])
            message.receive(call["objects"])
            reply = answer(function, call, decode=message.decode, encode=message.encode_equal)
            rows = message.rows()
        except UnknownClassError as error:
            return form_of_exception(NameError(str(error)))
        except (NotPlainData, RecursionError) as error:
            return {"unsupported": f"an object was filled with what cannot cross: {error}"}
        return reply if rows == call["objects"] else {**reply, "objects": rows}

    def _call_back(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        message = Message(self.border)
        request = {
            "call_back": number,
            "args": [message.encode_equal(arg) for arg in args],
            "kwargs": {name: message.encode_equal(arg) for name, arg in kwargs.items()},
            "objects": message.rows(),
        }
        with self._turn:
            write_frame(self._channel, request)
            reply = read_frame(self._channel)
        if "raised" in reply:
            raise exception_of(reply)
        message.receive(reply["objects"])
        return message.decode(reply["value"])


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
    """One call's answer: "value", "iterator", "raised" or "unsupported"; and "args" where an argument was changed.

    args are the positional arguments and after them those by name. same_as: the one that is returned, by its place.
    """
    args = [decode(form) for form in call["args"]]
    kwargs = {name: decode(form) for name, form in call["kwargs"].items()}
    arguments, before = [*args, *kwargs.values()], [*call["args"], *call["kwargs"].values()]
    try:
        value = function(*args, **kwargs)
        reply = _describe_value(value, encode)
    except BaseException as error:
        return {**form_of_exception(error), **_changes(arguments, before, encode)}
    if type(value) in _MUTABLE:
        reply["same_as"] = next((index for index, each in enumerate(arguments) if each is value), None)
    return {**reply, **_changes(arguments, before, encode)}


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
