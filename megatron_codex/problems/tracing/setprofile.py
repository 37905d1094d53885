"""The plain engine, and the definition of the others: a callback of sys.setprofile in Python.

In: profile events. Out: what the recorder is told. An exception is seen by a trace function, which is set only while a
call is pending and the suite has none of its own: profile events do not tell it.
"""

from __future__ import annotations

import dis
import sys
import threading
from types import CodeType, FrameType
from typing import Any

from megatron_codex.problems.tracing.frame_calls import FrameCalls
from megatron_codex.problems.tracing.recorder import Recorder

_RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}
_YIELD, _RESUME = dis.opmap["YIELD_VALUE"], dis.opmap["RESUME"]
_YIELDS = {_YIELD} if sys.version_info < (3, 13) else {_YIELD, _RESUME}
"""Where a generator stands that gives an item."""


class ProfileEvents:
    """What a call and a return event of a frame mean. profiler.py, the engine in C, hands on only those that matter."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._calls = recorder, FrameCalls(recorder)
        self.pending = self._calls.pending
        self._opcodes: dict[int, bytes] = {}

    def on_call(self, frame: FrameType) -> bool | None:
        """Whether the end of this call is awaited; None: nor will that of any later call of this code be."""
        samples = self._recorder.meet(frame.f_code, frame.f_globals)
        if samples is None:
            return None
        if samples.is_generator and not self._begins(frame):
            if self._opcode(frame) != _RESUME:  # something was thrown into it
                self._calls.forget(frame)
            return frame in self.pending
        return None if samples.is_done else self._calls.enter(samples, frame)

    def on_return(self, frame: FrameType, value: Any, error: BaseException | None) -> None:
        """A pending frame yields, returns or, for a reason that may be unknown, ends with an exception."""
        opcode = self._opcode(frame)
        if opcode in _RETURNS:
            self._calls.returned(frame, value)
        elif opcode in _YIELDS and error is None:
            self._calls.yielded(frame, value)
        elif error is not None:
            self._calls.raised(frame, error)
        else:
            self._calls.forget(frame)

    def _begins(self, frame: FrameType) -> bool:
        """Whether a generator's frame runs for the first time: at its first RESUME."""
        opcodes = self._opcodes_of(frame.f_code)
        return frame.f_lasti == 2 * opcodes.index(_RESUME)

    def _opcode(self, frame: FrameType) -> int:
        return self._opcodes_of(frame.f_code)[frame.f_lasti // 2]

    def _opcodes_of(self, code: CodeType) -> bytes:
        if id(code) not in self._opcodes:  # the recorder keeps the code alive
            self._opcodes[id(code)] = code.co_code[::2]
        return self._opcodes[id(code)]


class SetProfileEngine:
    """sys.setprofile in this thread and those that it starts."""

    name = "setprofile"

    def __init__(self, recorder: Recorder) -> None:
        self._events = ProfileEvents(recorder)
        self._pending = self._events.pending
        self._threads = threading.local()
        self._errors: dict[FrameType, BaseException] = {}

    def start(self) -> None:
        threading.setprofile(self.profile)
        sys.setprofile(self.profile)

    def is_running(self) -> bool:
        """False after a test, or Python itself at the recursion limit, has ended it in this thread."""
        return sys.getprofile() == self.profile

    def stop(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        if sys.gettrace() is _ignore:
            sys.settrace(None)
        self._pending.clear()
        self._errors.clear()
        self._threads.depth = 0

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """The callback. It must not raise: that would end the tracing, inside the project's code."""
        try:
            if event == "call":
                if self._events.on_call(frame):
                    self._watch(frame)
            elif event == "return" and frame in self._pending:
                self._events.on_return(frame, argument, self._errors.pop(frame, None))
                self._unwatch()
        except Exception:
            # A RecursionError near the limit, most likely: this one call is not recorded.
            self._pending.pop(frame, None)

    def _watch(self, frame: FrameType) -> None:
        """Be told the exceptions of this frame."""
        self._threads.depth = getattr(self._threads, "depth", 0) + 1
        if sys.gettrace() in (None, _ignore):
            frame.f_trace, frame.f_trace_lines = self._on_exception, False
            sys.settrace(_ignore)

    def _unwatch(self) -> None:
        self._threads.depth = getattr(self._threads, "depth", 1) - 1
        if self._threads.depth <= 0 and sys.gettrace() is _ignore:
            sys.settrace(None)

    def _on_exception(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "exception":
            self._errors[frame] = argument[1]
        return self._on_exception


def _ignore(frame: FrameType, event: str, argument: Any) -> None:
    """Global trace function: it must be set for the local ones to be called, and traces nothing itself."""
