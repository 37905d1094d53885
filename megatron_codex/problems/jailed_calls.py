"""Calls of one function in a jail, answered one by one: what a program says before it ends counts, whatever its end.

In: source, the function's name, calls in tagged JSON. Out: Heard: the answers so far, and how it ended. Each run is a
fresh process. The program is untrusted, and so is every answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from megatron_codex.errors import WorkError
from megatron_codex.sandbox.candidate_run import CandidateRun
from megatron_codex.sandbox.frames import BrokenFrame, FrameTimeout
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.probe import choose_sandbox
from megatron_codex.sandbox.worker import ProgramWorker, WorkerError
from megatron_codex.tagged import NotPlainData

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

    def __init__(self, num_workers: int, *, allow_level_b: bool = False) -> None:
        """Raises: WorkError when this machine cannot isolate programs."""
        self.num_workers = num_workers
        self._sandbox = choose_sandbox("judge", allow_level_b=allow_level_b)
        self._idle: SimpleQueue[ProgramWorker | None] = SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(None)  # started when it is needed

    def __enter__(self) -> JailedCalls:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in [self._idle.get() for _ in range(self.num_workers)]:
            if worker is not None:
                worker.close()

    @contextmanager
    def candidate(self, limits: Limits, *, name: str = "a function") -> Iterator[CandidateRun]:
        """A fresh process. name: of what it runs, for messages. Raises: WorkError, of the sandbox."""
        worker = self._idle.get()
        try:
            worker = worker or self._sandbox.start_worker(limits)
            with CandidateRun(worker, limits, grace_s=_END_S) as candidate:
                yield candidate
            if candidate.ending.setup_error:
                raise WorkerError(candidate.ending.setup_error)
        except WorkerError as error:
            if worker is not None:
                worker.close()
                worker = None
            raise WorkError(f"{name} could not be run in the sandbox: {error}") from error
        finally:
            self._idle.put(worker)

    def run(self, source: str, function: str, calls: Sequence[dict[str, Any]], *, timeout_s: float) -> Heard:
        """timeout_s: CPU time of all calls together. Raises: WorkError, of the sandbox."""
        limits = Limits(cpu_s=timeout_s, wall_s=_WALL_FACTOR * timeout_s + 1, memory_bytes=MEMORY_BYTES)
        loaded, answers = False, []
        # What it said before it ended stands.
        with self.candidate(limits) as candidate, suppress(EOFError, BrokenFrame, FrameTimeout, NotPlainData):
            loaded = "loaded" in candidate.load(source, function)
            for call in calls if loaded else ():
                # One at a time: an answer that waits for others would be lost with the process.
                answers.append(candidate.ask(call))
        return Heard(loaded=loaded, answers=answers, cpu_s=candidate.ending.cpu_s)
