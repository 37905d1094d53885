"""The engine of Python 3.12 and later: sys.monitoring, which never asks again where the answer was DISABLE.

In: monitoring events. Out: what the recorder is told. A function is started, for all that we know, in the frame that
called the callback: that is what tells two calls of one function apart, also of a generator that is run by turns.
"""

from __future__ import annotations

import sys
from types import CodeType
from typing import Any

from megatron_codex.problems.tracing.frame_calls import FrameCalls
from megatron_codex.problems.tracing.recorder import Recorder

NAME = "megatron_codex"
_monitoring: Any = getattr(sys, "monitoring", None)
_MAX_TOOLS = 6


class MonitoringEngine:
    """All threads at once."""

    name = "monitoring"

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._calls = recorder, FrameCalls(recorder)
        self._pending = self._calls.pending
        self._tool = -1
        events = _monitoring.events
        self._callbacks = {
            events.PY_START: self._on_start,
            events.PY_RETURN: self._on_return,
            events.PY_YIELD: self._on_yield,
            events.PY_UNWIND: self._on_unwind,
            events.PY_THROW: self._on_throw,
        }
        self._everywhere = events.PY_START | events.PY_UNWIND | events.PY_THROW
        self._in_wanted = events.PY_RETURN | events.PY_YIELD
        self._frame = sys._getframe  # taken now: a test may put another in its place for a while

    def start(self) -> None:
        # The highest number that is free: debuggers, coverage and profilers have low ones by convention.
        self._tool = next(tool for tool in reversed(range(_MAX_TOOLS)) if _monitoring.get_tool(tool) is None)
        _monitoring.use_tool_id(self._tool, NAME)
        for event, callback in self._callbacks.items():
            _monitoring.register_callback(self._tool, event, callback)
        for samples in self._recorder.functions:  # of an earlier start
            if samples.code is not None and not samples.is_done:
                _monitoring.set_local_events(self._tool, samples.code, self._in_wanted)
        _monitoring.set_events(self._tool, self._everywhere)
        _monitoring.restart_events()

    def is_running(self) -> bool:
        """False after a test has freed our tool, taken a callback from it or changed its events."""
        if _monitoring.get_tool(self._tool) != NAME or _monitoring.get_events(self._tool) != self._everywhere:
            return False
        for event, callback in self._callbacks.items():
            before = _monitoring.register_callback(self._tool, event, callback)
            if before != callback:
                return False
        return True

    def stop(self) -> None:
        self._pending.clear()
        if self._tool >= 0 and _monitoring.get_tool(self._tool) == NAME:
            _monitoring.set_events(self._tool, 0)
            _monitoring.free_tool_id(self._tool)

    # A callback must not raise: its exception would come out of the project's code.

    def _on_start(self, code: CodeType, offset: int) -> Any:
        try:
            frame = self._frame(1)
            samples = self._recorder.meet(code, frame.f_globals)
            if samples is None or samples.is_done:
                return _monitoring.DISABLE
            if samples.num_calls == 0:
                _monitoring.set_local_events(self._tool, code, self._in_wanted)
            self._calls.enter(samples, frame)
        except Exception:
            self._pending.pop(self._frame(1), None)
        return None

    def _on_return(self, code: CodeType, offset: int, value: Any) -> Any:
        try:
            frame = self._frame(1)
            if frame in self._pending:
                self._calls.returned(frame, value)
        except Exception:
            return None
        return None

    def _on_yield(self, code: CodeType, offset: int, value: Any) -> Any:
        try:
            frame = self._frame(1)
            if frame in self._pending:
                self._calls.yielded(frame, value)
        except Exception:
            self._pending.pop(self._frame(1), None)
        return None

    def _on_unwind(self, code: CodeType, offset: int, error: BaseException) -> None:
        try:
            if self._pending and (frame := self._frame(1)) in self._pending:
                self._calls.raised(frame, error)
        except Exception:
            return

    def _on_throw(self, code: CodeType, offset: int, error: BaseException) -> None:
        if self._pending:
            self._calls.forget(self._frame(1))
