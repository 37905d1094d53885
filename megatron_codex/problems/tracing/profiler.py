"""The engine of Python 3.11: a profile function in C (csrc/tracing) in front of the plain engine's events.

In: profile events, most of which never leave C: a code object is judged once, and no longer looked at when it has
enough samples. Out: what the recorder is told. An exception is read off the frame that it comes to next.
"""

from __future__ import annotations

import threading
from types import FrameType
from typing import Any

from megatron_codex.problems.tracing.recorder import Recorder
from megatron_codex.problems.tracing.setprofile import ProfileEvents

try:
    from megatron_codex.problems.tracing import _tracer
except ImportError:  # not built, or built for another Python
    _tracer = None  # type: ignore[assignment]

IS_BUILT = hasattr(_tracer, "start_profiler")


class ProfilerEngine:
    """PyEval_SetProfile in this thread and those that it starts with the module threading."""

    name = "profiler"

    def __init__(self, recorder: Recorder) -> None:
        events = ProfileEvents(recorder)
        self._pending = events.pending
        _tracer.configure_profiler(events.on_call, events.on_return, events.pending)

    def start(self) -> None:
        threading.setprofile(_begin_thread)
        _tracer.start_profiler()

    def is_running(self) -> bool:
        """False after a test has ended it in this thread."""
        return _tracer.is_profiling()

    def stop(self) -> None:
        threading.setprofile(None)
        _tracer.stop_profiler()
        self._pending.clear()


def _begin_thread(frame: FrameType, event: str, argument: Any) -> None:
    """What a new thread is given for its profile function: puts the one in C in its place."""
    _tracer.start_profiler()
