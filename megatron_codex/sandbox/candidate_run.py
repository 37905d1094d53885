"""The driver's side of one jailed candidate: its process from start to end, what it is sent, and what it says.

In: a worker, limits, a program and calls in tagged JSON. Out: answers (answers.py), which are data of unknown origin,
and the process's Ending.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from megatron_codex.sandbox.frames import FrameReader, open_connection, write_frame
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending
from megatron_codex.sandbox.worker import ProgramWorker
from megatron_codex.tagged import NotPlainData


class CandidateRun:
    """A context manager; `ending` is there when it is left.

    Each method raises EOFError when the process is gone, FrameTimeout, BrokenFrame for what cannot be sent or is no
    message, and NotPlainData for an answer that is none.
    """

    ending: Ending

    def __init__(self, worker: ProgramWorker, limits: Limits, *, grace_s: float) -> None:
        """grace_s: beyond the limits, for the worker to tell that they were reached."""
        self._worker, self._limits, self._grace_s = worker, limits, grace_s

    def __enter__(self) -> CandidateRun:
        """Raises: WorkerError."""
        self._deadline = time.monotonic() + self._limits.longest_s + self._grace_s
        with ExitStack() as stack:
            self._ours, theirs = stack.enter_context(open_connection())
            self._run = self._worker.spawn(b"candidate", [theirs.fileno()], self._limits)
            theirs.close()
            self._ours.setblocking(False)
            self._reader = FrameReader(self._ours.fileno(), deadline=self._deadline)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:  # until it is stopped: a closed channel would have it run to its end
            self._worker.stop(self._run)
        self.ending = self._worker.wait(self._run, timeout_s=self._grace_s)

    def load(self, source: str, entry_point: str, calls: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """What it says of the program; an answer to each of these calls can be read then."""
        job: dict[str, Any] = {"source": source, "entry_point": entry_point}
        self._send({**job, "calls": calls} if calls else job)
        return self.read()

    def ask(self, call: dict[str, Any]) -> dict[str, Any]:
        """The answer to one more call."""
        self._send({"calls": [call]})
        return self.read()

    def read(self) -> dict[str, Any]:
        """The next answer."""
        answer = self._reader.read()
        if type(answer) is not dict:
            raise NotPlainData("the answer is malformed")
        return answer

    def _send(self, message: Any) -> None:
        try:
            write_frame(self._ours.fileno(), message, deadline=self._deadline)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise EOFError("the other process is gone") from error
