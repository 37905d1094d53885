"""The pending calls of the engines that see Python's frames, by these.

In: a frame begins, yields, returns or raises. Out: the same, to the recorder. Frames are held as long as their calls
are pending: so a frame's identity stays its own. An engine's thread and its frames are one: pending calls of several
threads never meet.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from megatron_codex.problems.tracing.calls import num_parameters
from megatron_codex.problems.tracing.recorder import Pending, Recorder, Samples

_MAX_PENDING_GENERATORS = 256


class FrameCalls:
    """pending: only changed in place, since the engine in C holds it, too."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.pending: dict[FrameType, Pending] = {}

    def enter(self, samples: Samples, frame: FrameType) -> bool:
        """A call begins. Whether it is one to be told the end of."""
        if samples.is_generator and len(self.pending) >= _MAX_PENDING_GENERATORS:
            return False  # generators that nobody runs to their end
        if samples.is_done:
            return False
        code, names = frame.f_code, frame.f_locals
        values = [names[name] for name in code.co_varnames[: num_parameters(code)]]
        pending = self._recorder.begin_call(samples, values)
        if pending is None:
            return False
        self.pending[frame] = pending
        return True

    def yielded(self, frame: FrameType, value: Any) -> None:
        """A generator gives an item."""
        if not self._recorder.add_item(self.pending[frame], value):
            del self.pending[frame]

    def returned(self, frame: FrameType, value: Any) -> None:
        """A call ends; a generator has given its last item."""
        self._recorder.end(self.pending.pop(frame), value)

    def raised(self, frame: FrameType, error: BaseException) -> None:
        """A call ends with an exception."""
        self._recorder.end_raised(self.pending.pop(frame), error)

    def forget(self, frame: FrameType) -> None:
        """A call of which nobody will tell how it ended: an exception was thrown into a generator, for instance."""
        self.pending.pop(frame, None)
