"""A suite's tracer: an engine, chosen by what this Python has, and what it tells its recorder.

In: a project's root and what of its calls is wanted. Out: the records (records.py).
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from megatron_codex.problems.tracing import evaluator, profiler
from megatron_codex.problems.tracing.builtin_calls import BuiltinCalls
from megatron_codex.problems.tracing.monitoring import MonitoringEngine
from megatron_codex.problems.tracing.origins import Origins
from megatron_codex.problems.tracing.recorder import Recorder
from megatron_codex.problems.tracing.records import RecordFile
from megatron_codex.problems.tracing.setprofile import SetProfileEngine


class Engine(Protocol):
    """Tells a recorder of the calls of this process, from start to stop."""

    name: str

    def start(self) -> None: ...

    def is_running(self) -> bool: ...

    def stop(self) -> None: ...


ENGINES: dict[str, Callable[[Recorder], Engine]] = {
    "setprofile": SetProfileEngine,
    "profiler": profiler.ProfilerEngine,
    "evaluator": evaluator.EvaluatorEngine,
    "monitoring": MonitoringEngine,
}


def engines_here() -> list[str]:
    """The engines that this Python can run, fastest first; the last one runs everywhere."""
    if sys.version_info >= (3, 12):
        return ["monitoring", "setprofile"]
    engines = ["evaluator"] if evaluator.IS_USABLE else []
    return [*engines, "profiler", "setprofile"] if profiler.IS_BUILT else ["setprofile"]


class Tracer:
    """engine: a name of ENGINES; the default is the fastest that there is, and the first record says which."""

    def __init__(
        self,
        root: str,
        output: Path,
        *,
        num_samples: int,
        engine: str = "",
        libraries: Collection[str] = (),
        builtins: Collection[str] = (),
    ) -> None:
        """libraries: of origins.LIBRARIES. builtins: names as "math.gcd"; raises NoBuiltinError."""
        self._records = RecordFile(output)
        self.recorder = Recorder(Origins(root, libraries), self._records, num_samples=num_samples)
        self._engine = ENGINES[engine or engines_here()[0]](self.recorder)
        self._builtins = BuiltinCalls(self.recorder, builtins)
        self.num_resumed = 0

    def start(self) -> None:
        """Trace this thread and those that it will start."""
        facts = {"engine": self._engine.name, "python": platform.python_version()}
        self._records.write(kind="start", seal=sha256(self._records.token.encode()).hexdigest(), **facts)
        self._builtins.start()
        self._engine.start()

    def resume(self) -> None:
        """Before each test: go on where tracing has ended.

        A suite may end it (sys.setprofile); Python itself does when the recursion limit leaves a callback no room.
        """
        if not self._engine.is_running():
            self.num_resumed += 1
            self._engine.stop()
            self._engine.start()

    def finish(self, **result: Any) -> None:
        """End the tracing and write the last record; not in a process that the suite forked."""
        self._engine.stop()
        self._builtins.stop()
        if self._records.is_of_this_process():
            calls = {samples.id: samples.num_calls for samples in self.recorder.functions}
            token, resumed = self._records.token, self.num_resumed
            self._records.write(kind="end", token=token, calls=calls, resumed=resumed, **result)
