"""Inside a jail of its own: runs a problem's tests against a function that lives in another process.

In: one frame {"references", "test", "entry_point", "nonce"} from the driver; the channel to the candidate. Out: one
frame {"nonce", "verdict", "detail", "num_calls"} to the driver. The candidate never holds that descriptor, and never
sees the tests: it receives arguments and returns data.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from typing import Any, NoReturn

from megatron_codex.sandbox.frames import BrokenFrame, read_frame, write_frame
from megatron_codex.tagged import NotPlainData, decode, encode

_MAX_DETAIL_CHARS = 500


class CandidateGoneError(BaseException):
    """The candidate's process ended, or answered what is no answer. Not an Exception: a test must not catch it."""


class UnsupportedError(BaseException):
    """What the test or the candidate hands over is no plain data."""


class RemoteFunction:
    """The function under test: each call is sent to the candidate's process and its answer returned or raised."""

    def __init__(self, channel: int, *, ends_loops: bool = False) -> None:
        """ends_loops: hand on StopIteration as it is, because the tests name it.

        Else it becomes a RuntimeError, as in a generator (PEP 479): map(), all() and iter() take it for their end.
        """
        self._channel = channel
        self._ends_loops = ends_loops
        self.num_calls = 0
        self.broken: BaseException | None = None
        """What made the answers worthless; kept, since a test's bare `except:` catches even a BaseException."""
        self.raised: BaseException | None = None
        """The last exception of the candidate's own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.broken is not None:
            raise self.broken
        try:
            return self._call(args, kwargs)
        except (CandidateGoneError, UnsupportedError) as error:
            self.broken = error
            raise

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            call = {
                "args": [encode(arg) for arg in args],
                "kwargs": {name: encode(arg) for name, arg in kwargs.items()},
            }
        except NotPlainData as error:
            raise UnsupportedError(f"a test's argument cannot be handed to another process: {error}") from error
        reply = self.exchange({"calls": [call]})
        self.num_calls += 1
        if "unsupported" in reply:
            raise UnsupportedError(str(reply["unsupported"]))
        try:
            for arg, form in zip(args, reply.get("args", ()), strict="args" in reply):
                write_back(arg, decode(form))
            if "raised" in reply:
                self.raised = exception_of(reply)
                if isinstance(self.raised, StopIteration) and not self._ends_loops:
                    self.raised = RuntimeError("the function raised StopIteration")
                raise self.raised
            if "iterator" in reply:
                return iter(decode(reply["iterator"]))
            same_as = reply.get("same_as")
            return args[same_as] if type(same_as) is int and 0 <= same_as < len(args) else decode(reply["value"])
        except (NotPlainData, LookupError, TypeError, ValueError) as error:
            if error is self.raised:
                raise
            raise CandidateGoneError(f"its answer is malformed: {error}") from error

    def exchange(self, message: Any) -> dict[str, Any]:
        """Send (unless None) and receive one frame."""
        try:
            if message is not None:
                write_frame(self._channel, message)
            reply = read_frame(self._channel)
        except BrokenFrame as error:
            raise UnsupportedError(str(error)) from error
        except (EOFError, OSError, RecursionError) as error:
            raise CandidateGoneError(f"its process ended during the tests ({type(error).__name__})") from error
        if type(reply) is not dict:
            raise CandidateGoneError("its answer is malformed")
        return reply


def write_back(old: Any, new: Any) -> None:
    """Make `old` equal to `new` in place: lists, dicts, sets and bytearrays, also inside tuples."""
    if type(old) is not type(new):
        raise NotPlainData("an argument changed its type")
    if type(old) is list or type(old) is bytearray:
        old[:] = new
    elif type(old) is dict or type(old) is set:
        old.clear()
        old.update(new)
    elif type(old) is tuple:
        for old_item, new_item in zip(old, new, strict=True):
            write_back(old_item, new_item)


def exception_of(reply: dict[str, Any]) -> BaseException:
    """The candidate's exception as the most special builtin class it derives from."""
    message = str(reply.get("message", ""))[:_MAX_DETAIL_CHARS]
    for name in reply["raised"]:
        kind = getattr(builtins, name, None) if type(name) is str else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            try:
                return kind(message)
            except TypeError:  # UnicodeDecodeError and its like want more than a message
                continue
    return RuntimeError(message)


def run(channel: int, report: int) -> NoReturn:
    """Run the tests, send the verdict, exit with 0."""
    job = read_frame(report)
    remote = RemoteFunction(channel, ends_loops="StopIteration" in job["test"])
    verdict, detail = _judge(job, remote)
    if remote.broken is not None:
        verdict, detail = _verdict_of(remote.broken, remote)
    message = {"nonce": job["nonce"], "verdict": verdict, "detail": detail[:_MAX_DETAIL_CHARS]}
    write_frame(report, {**message, "num_calls": remote.num_calls})
    os._exit(0)


def _judge(job: dict[str, Any], remote: RemoteFunction) -> tuple[str, str]:
    try:
        loaded = remote.exchange(None)
        if "raised" in loaded:
            remote.raised = exception_of(loaded)
            return _describe(remote.raised, loaded["raised"])
        check = _load_check(job, remote)
        check(remote)
    except BaseException as error:
        if remote.num_calls == 0 and remote.broken is None and not isinstance(error, CandidateGoneError):
            return "unsupported", f"the tests fail before they call the function: {_name_and_text(error)}"
        return _verdict_of(error, remote)
    if remote.num_calls == 0:
        return "unsupported", "the tests never call the function"
    return "passed", ""


def _load_check(job: dict[str, Any], remote: RemoteFunction) -> Callable[[RemoteFunction], object]:
    names = _helpers(job["references"])
    names[job["entry_point"]] = remote
    exec(compile(job["test"], "<test>", "exec", dont_inherit=True), names)
    if "check" not in names:
        raise NameError("they do not define check(candidate)")
    check: Callable[[RemoteFunction], object] = names["check"]
    return check


def _helpers(references: list[str]) -> dict[str, Any]:
    """What the prompt defines besides the function: from a trusted source, as the candidate could change its own.

    The first reference that runs is taken; none need run, since most tests use nothing of it. A test that does fails
    on the missing name.
    """
    for reference in references:
        names: dict[str, Any] = {"__name__": "tests"}
        try:
            exec(compile(reference, "<reference>", "exec", dont_inherit=True), names)
        except Exception:
            continue
        return names
    return {"__name__": "tests"}


def _verdict_of(error: BaseException, remote: RemoteFunction) -> tuple[str, str]:
    if isinstance(error, CandidateGoneError):
        return "died", str(error)
    if isinstance(error, UnsupportedError):
        return "unsupported", str(error)
    if error is remote.raised:
        return _describe(error, [type(error).__name__])
    if isinstance(error, AssertionError):
        return "wrong", _text(error) or "an assertion failed"
    return "error", f"in the tests: {_name_and_text(error)}"


def _describe(error: BaseException, names: list[Any]) -> tuple[str, str]:
    return "error", f"{names[0] if names else type(error).__name__}: {error}"


def _text(error: BaseException) -> str:
    """The message of a test's exception, which may hold an answer that cannot be shown: an integer of 6,000 digits."""
    try:
        return str(error)
    except Exception as failure:
        return f"its message cannot be made: {type(failure).__name__}"


def _name_and_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {_text(error)}"
