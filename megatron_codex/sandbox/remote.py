"""The tester's end of the channel to a candidate: the function under test, as the tests see it.

In: calls. Out: what the candidate's process answered, returned or raised. While it waits for an answer it runs what the
candidate calls back: functions of the tests that they handed over.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from operator import length_hint
from typing import Any

from megatron_codex.sandbox import _jail
from megatron_codex.sandbox.border import Border, HiddenMethodError, Message, UnknownClassError
from megatron_codex.sandbox.exceptions import exception_of, form_of_exception
from megatron_codex.sandbox.frames import BrokenFrame, parse_body, write_frame
from megatron_codex.tagged import NotPlainData

_STAND_FOR_THEMSELVES = (int, str, bool, type(None))
"""Forms that are the value."""


class CandidateGoneError(BaseException):
    """The candidate's process ended, or answered what is no answer. Not an Exception: a test must not catch it."""


class UnsupportedError(BaseException):
    """What the test or the candidate hands over cannot cross."""


class Remote:
    """A candidate's process. Calls are counted; its first faulty answer makes all later ones worthless."""

    def __init__(self, channel: int, *, ends_loops: bool = False) -> None:
        """ends_loops: hand on StopIteration as it is, because the tests name it.

        Else it becomes a RuntimeError, as in a generator (PEP 479): map(), all() and iter() take it for their end.
        """
        self._channel = channel
        self._ends_loops = ends_loops
        self.classes: dict[str, object] = {}
        """The trusted class of a name, for objects that cross."""
        self._border = Border(self.classes.get, self.call)
        self._waiting = False
        self.num_calls = 0
        self.broken: BaseException | None = None
        """What made the answers worthless; kept, since a test's bare `except:` catches even a BaseException."""
        self.raised: BaseException | None = None
        """The last exception of the candidate's own."""

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the candidate's by number; 0 is the function under test."""
        if self.broken is not None:
            raise self.broken
        try:
            if self._waiting:
                raise UnsupportedError("the tests call the function while it calls one of theirs")
            self._waiting = True
            return self._call(number, args, kwargs)
        except (CandidateGoneError, UnsupportedError) as error:
            self.broken = error
            raise
        finally:
            self._waiting = False

    def receive_loaded(self) -> dict[str, Any]:
        """The first answer: whether the program could be loaded."""
        return self._receive()

    def _call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if number == 0 and self._send_common(args, kwargs):
            reply = self._receive()
            if len(reply) == 1 and type(reply.get("value", reply)) in _STAND_FOR_THEMSELVES:
                self.num_calls += 1
                return reply["value"]
            return self._conclude(reply, Message(self._border), args, kwargs)
        message = Message(self._border)
        try:
            call = {
                "function": number,
                "args": [message.encode(arg) for arg in args],
                "kwargs": {name: message.encode(arg) for name, arg in kwargs.items()},
                "objects": message.rows(),
            }
        except (NotPlainData, RecursionError) as error:
            raise UnsupportedError(f"a test's argument cannot be handed to another process: {error}") from error
        self._send({"calls": [call]})
        return self._conclude(self._receive(), message, args, kwargs)

    def _conclude(self, reply: dict[str, Any], message: Message, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        while "call_back" in reply:
            self._send(self._call_back(reply))
            reply = self._receive()
        self.num_calls += 1
        if "unsupported" in reply:
            raise UnsupportedError(str(reply["unsupported"]))
        try:
            return self._result(reply, message, [*args, *kwargs.values()])
        except (UnknownClassError, HiddenMethodError) as error:
            raise UnsupportedError(f"the answer is no plain data: {error}") from error
        except (NotPlainData, LookupError, TypeError, ValueError) as error:
            if error is self.raised:
                raise
            raise CandidateGoneError(f"its answer is malformed: {error}") from error

    def _result(self, reply: dict[str, Any], message: Message, arguments: list[Any]) -> Any:
        if "objects" in reply:
            message.receive(reply["objects"])
        for argument, form in zip(arguments, reply.get("args", ()), strict="args" in reply):
            write_back(argument, message.decode(form))
        if "raised" in reply:
            self.raised = exception_of(reply)
            if isinstance(self.raised, StopIteration) and not self._ends_loops:
                self.raised = RuntimeError("the function raised StopIteration")
            raise self.raised
        if "iterator" in reply:
            return iter(message.decode(reply["iterator"]))
        same_as = reply.get("same_as")
        if type(same_as) is int and 0 <= same_as < len(arguments):
            return arguments[same_as]
        return message.decode(reply["value"])

    def _call_back(self, request: dict[str, Any]) -> dict[str, Any]:
        message = Message(self._border)
        try:
            function = self._border.function(request["call_back"])
            message.receive(request["objects"])
            args = [message.decode(form) for form in request["args"]]
            kwargs = {name: message.decode(form) for name, form in request["kwargs"].items()}
        except (NotPlainData, LookupError, TypeError, ValueError, AttributeError) as error:
            raise CandidateGoneError(f"its call is malformed: {error}") from error
        try:
            value = function(*args, **kwargs)
        except Exception as error:
            return form_of_exception(error)
        try:
            return {"value": message.encode(value), "objects": message.rows()}
        except (NotPlainData, RecursionError) as error:
            text = f"the result of a test's function cannot be handed to another process: {error}"
            raise UnsupportedError(text) from error

    def _send(self, message: Any) -> None:
        try:
            write_frame(self._channel, message)
        except BrokenFrame as error:
            raise UnsupportedError(str(error)) from error
        except OSError as error:
            raise self._gone(error) from error

    def _send_common(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Send a call of the function under test, if its arguments are common values (csrc/sandbox/tester.c)."""
        try:
            return _jail.send_call(self._channel, args, kwargs)
        except OSError as error:
            raise self._gone(error) from error

    def _receive(self) -> dict[str, Any]:
        try:
            reply = parse_body(_jail.receive(self._channel))
        except ValueError as error:
            raise UnsupportedError(str(error)) from error
        except (EOFError, OSError) as error:
            raise self._gone(error) from error
        if type(reply) is not dict:
            raise CandidateGoneError("its answer is malformed")
        return reply

    def _gone(self, error: Exception) -> CandidateGoneError:
        return CandidateGoneError(f"its process ended during the tests ({type(error).__name__})")


def write_back(old: Any, new: Any) -> None:
    """Make `old` equal to `new` in place: lists, dicts, deques, sets and bytearrays, also inside tuples; iterators."""
    if hasattr(type(old), "__length_hint__"):
        for _ in range(length_hint(old) - length_hint(new)):
            next(old)
    elif type(old) is not type(new):
        raise NotPlainData("an argument changed its type")
    if type(old) is list or type(old) is bytearray:
        old[:] = new
    elif type(old) is deque:
        old.clear()
        old.extend(new)
    elif type(old) in (dict, set, Counter, OrderedDict, defaultdict):
        old.clear()
        old.update(new)
    elif type(old) is tuple:
        for old_item, new_item in zip(old, new, strict=True):
            write_back(old_item, new_item)
