"""The engine of Python 3.11: a frame evaluator in C (csrc/tracing/evaluator.c), which all calls pass through.

In: calls of code objects that the recorder wants to know of; all others stay in C. Out: what the recorder is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import CodeType
from typing import Any, Literal

from megatron_codex.problems.tracing.recorder import Pending, Recorder, Samples

try:
    from megatron_codex.problems.tracing import _tracer
except ImportError:  # not built, or built for another Python
    _tracer = None  # type: ignore[assignment]

IS_USABLE = hasattr(_tracer, "can_evaluate") and _tracer.can_evaluate()
"""Built, and for this very release of Python."""


class EvaluatorEngine:
    """All threads at once."""

    name = "evaluator"

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        _tracer.configure_evaluator(self._meet, self._begin, recorder.add_item, recorder.end, recorder.end_raised)

    def start(self) -> None:
        _tracer.start_evaluator()

    def is_running(self) -> bool:
        """False after a test has put an evaluator of its own there."""
        return _tracer.is_evaluating()

    def stop(self) -> None:
        _tracer.stop_evaluator()

    def _meet(self, code: CodeType, names: dict[str, Any]) -> Samples | Literal[False] | None:
        """False: nor does any other function of this file matter."""
        if self._recorder.is_foreign(code):
            return False
        samples = self._recorder.meet(code, names)
        return None if samples is None or samples.is_done else samples

    def _begin(self, samples: Samples, values: Sequence[Any]) -> Pending | Literal[False] | None:
        """False: nobody will want to know of a later call either."""
        pending = self._recorder.begin_call(samples, values)
        return False if pending is None and samples.is_done else pending
