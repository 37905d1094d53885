"""Calls of one function in a jail, answered one by one: what a program says before it ends counts, whatever its end.

In: source, the function's name, calls in tagged JSON. Out: Heard: the answers so far, and how it ended. Each run is a
fresh process. The program is untrusted, and so is every answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from megatron_codex.errors import WorkError
from megatron_codex.sandbox.frames import (
    BrokenFrame,
    FrameReader,
    FrameTimeout,
    open_connection,
    write_frame,
)
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.probe import choose_sandbox
from megatron_codex.sandbox.worker import ProgramWorker, WorkerError

MEMORY_BYTES = 1 << 30
_WALL_FACTOR = 10
"""Of the CPU time: a busy machine must not end a program."""
_END_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Heard:
    """loaded: whether the program ran at all. answers: to the first calls; fewer than calls when it ended before."""

    loaded: bool
    answers: list[dict[str, Any]]
    cpu_s: float


class JailedCalls:
    """Worker processes, each of which runs one program at a time. A context manager; safe for num_workers threads."""

    def __init__(self, num_workers: int) -> None:
        """Raises: WorkError when this machine cannot isolate programs."""
        self.num_workers = num_workers
        self._sandbox = choose_sandbox("judge")
        self._idle: SimpleQueue[ProgramWorker | None] = SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(None)  # started when it is needed

    def __enter__(self) -> JailedCalls:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [self._idle.get() for _ in range(self.num_workers)]:
            if worker is not None:
                worker.close()

    def run(self, source: str, function: str, calls: Sequence[dict[str, Any]], *, timeout_s: float) -> Heard:
        """timeout_s: CPU time of all calls together. Raises: WorkError, of the sandbox."""
        limits = Limits(cpu_s=timeout_s, wall_s=_WALL_FACTOR * timeout_s + 1, memory_bytes=MEMORY_BYTES)
        worker = self._idle.get()
        try:
            worker = worker or self._sandbox.start_worker(limits)
            return _run(worker, {"source": source, "entry_point": function}, calls, limits)
        except WorkerError as error:
            if worker is not None:
                worker.close()
                worker = None
            raise WorkError(f"a function could not be run in the sandbox: {error}") from error
        finally:
            self._idle.put(worker)


def _run(worker: ProgramWorker, job: dict[str, Any], calls: Sequence[dict[str, Any]], limits: Limits) -> Heard:
    deadline = time.monotonic() + limits.longest_s + _END_S
    loaded, answers = False, []
    with open_connection() as (ours, theirs):
        run = worker.spawn(b"candidate", [theirs.fileno()], limits)
        theirs.close()
        ours.setblocking(False)
        try:
            reader = FrameReader(ours.fileno(), deadline=deadline)
            write_frame(ours.fileno(), job, deadline=deadline)
            loaded = "loaded" in reader.read()
            for call in calls if loaded else ():
                # One at a time: an answer that waits for others would be lost with the process.
                write_frame(ours.fileno(), {"calls": [call]}, deadline=deadline)
                answers.append(dict(reader.read()))
        except (EOFError, BrokenPipeError, ConnectionResetError, BrokenFrame, FrameTimeout, TypeError, ValueError):
            pass  # what it said before stands
        finally:
            worker.stop(run)
            ending = worker.wait(run, timeout_s=_END_S)
    if ending.setup_error:
        raise WorkerError(ending.setup_error)
    return Heard(loaded=loaded, answers=answers, cpu_s=ending.cpu_s)
