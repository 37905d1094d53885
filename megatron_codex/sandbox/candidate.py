"""Inside the jail: loads an untrusted program and answers calls to one of its functions.

In: one frame {"source", "entry_point"}, with "calls" or followed by frames {"calls": [{"args", "kwargs"}]}. Out:
{"loaded": true}, then one answer a call (answers.py). A call with "objects" (a tester's) may hold and return all that
border.py names, else plain data only. Nothing here is trusted after the program was loaded: it shares this process.
Whoever reads the answers therefore takes them for what they are, data of unknown origin.

Calls and answers of common values are read, made and written by csrc/sandbox/candidate.c.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import types
from _thread import allocate_lock
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from megatron_codex.sandbox import _jail
from megatron_codex.sandbox.answers import answer, describe, pack_answer
from megatron_codex.sandbox.border import Border, Message, UnknownClassError
from megatron_codex.sandbox.exceptions import exception_of, form_of_exception
from megatron_codex.sandbox.frames import open_connection, read_frame, write_frame
from megatron_codex.tagged import NotPlainData, encode

_NUM_WARM_UPS = 16
"""More than it takes until Python's own code is specialised."""
_WARM_UP = """
import math
def f(x, *y):
    z = {"a": [x for x in range(3)]}
    for i in sorted(z):
        z[i].append((len(z[i]), 1.5))
    return x if z else f"{x}"
"""


def serve(channel: int) -> NoReturn:
    """Answer until the caller closes the channel."""
    _jail.serve_candidate(channel, Fallback, refuse)
    os._exit(0)


def refuse(channel: int, error: BaseException) -> NoReturn:
    """Say why the program cannot be loaded, or has no such function."""
    write_frame(channel, form_of_exception(error))
    os._exit(1)


def warm_up() -> None:
    """In the worker, before it forks: what every program's first call sets up, Python sets up once."""
    calls = [{"args": [encode(value)], "kwargs": {}} for value in (1, "a", [1.5])]
    job = {"source": _WARM_UP, "entry_point": "f", "calls": calls}
    for _ in range(_NUM_WARM_UPS):
        with open_connection() as (ours, theirs):
            write_frame(ours.fileno(), job)
            ours.shutdown(socket.SHUT_WR)
            _jail.serve_candidate(theirs.fileno(), Fallback, refuse)
            del sys.modules[_jail.PROGRAM]


def class_of(module: types.ModuleType, name: str) -> type[Any] | None:
    """The class of that name that the program itself defines."""
    found = module.__dict__.get(name)
    return found if isinstance(found, type) and found.__module__ == _jail.PROGRAM else None


class Fallback:
    """Answers, as frames, to calls with a value that is not common: candidate.c makes one, when it needs it first."""

    def __init__(self, channel: int, function: Callable[..., Any], module: types.ModuleType) -> None:
        self._function = function
        self._caller = Caller(channel, module, function)

    def answer(self, text: bytes) -> bytes:
        """text: of one call, as it came."""
        call = json.loads(text)
        return pack_answer(self._caller.answer(call) if "objects" in call else answer(self._function, call))

    def describe(self, text: bytes, arguments: list[Any], value: Any, raised: BaseException | None) -> bytes:
        """To a call of common values that was made already."""
        call = json.loads(text)
        said_by = self._caller.describe if "objects" in call else describe
        return pack_answer(said_by(call, arguments, value, raised))


class Caller:
    """Calls of a tester: what crosses, and the tester's functions, which the program may call back."""

    def __init__(self, channel: int, module: types.ModuleType, function: Callable[..., Any]) -> None:
        """function: the one under test, number 0 of those that are handed over."""
        self._channel = channel
        self._turn = allocate_lock()
        self.border = Border(partial(class_of, module), self._call_back, is_candidate=True)
        self.border.hand_over(function)

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """As answers.answer, with border.py's kinds of values and "objects", where there are any and they changed."""

        def reply(message: Message) -> dict[str, Any]:
            function = self.border.function(call["function"])
            return answer(function, call, decode=message.decode, encode=message.encode_equal)

        return self._with_objects(call, reply)

    def describe(
        self, call: dict[str, Any], arguments: list[Any], value: Any, raised: BaseException | None
    ) -> dict[str, Any]:
        """As answers.describe, with the same."""
        return self._with_objects(
            call, lambda message: describe(call, arguments, value, raised, encode=message.encode_equal)
        )

    def _with_objects(self, call: dict[str, Any], reply: Callable[[Message], dict[str, Any]]) -> dict[str, Any]:
        message = Message(self.border)
        try:
            message.receive(call["objects"])
            said = reply(message)
            rows = message.rows()
        except UnknownClassError as error:
            return form_of_exception(NameError(str(error)))
        except (NotPlainData, RecursionError) as error:
            return {"unsupported": f"an object was filled with what cannot cross: {error}"}
        return said if rows == call["objects"] else {**said, "objects": rows}

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
