"""What a driver is told of a candidate that is gone, is silent or says nonsense: a worker of the test's own."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from megatron_codex.sandbox.candidate_run import CandidateRun
from megatron_codex.sandbox.frames import BrokenFrame, FrameTimeout, pack_frame
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending
from megatron_codex.tagged import NotPlainData

_LIMITS = Limits(cpu_s=0.01, wall_s=0.01, memory_bytes=1 << 20)


class Worker:
    """Its candidate says these bytes; None: the process is there, and silent."""

    def __init__(self, says: bytes | None) -> None:
        self.says, self.done = says, []

    def spawn(self, payload: bytes, descriptors: Sequence[int], limits: Limits) -> int:
        self._held = os.dup(descriptors[0])
        os.write(self._held, self.says or b"")
        if self.says is not None:
            os.close(self._held)
        return 7

    def stop(self, run: int) -> None:
        self.done.append(("stop", run))

    def wait(self, run: int, *, timeout_s: float) -> Ending:
        self.done.append(("wait", run))
        return Ending(run=run, exit=0, stopped="asked", cpu_s=0.0, wall_s=0.0, setup_error="")

    def kill(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (b"", EOFError),
        (b"\x00\x00", EOFError),
        (b"\xff\xff\xff\xff", BrokenFrame),
        (b"\x00\x00\x00\x01{", BrokenFrame),
        (pack_frame([1]), NotPlainData),
        (None, FrameTimeout),
    ],
    ids=["gone", "half", "too large", "no JSON", "no object", "silent"],
)
def test_what_is_no_answer(says: bytes | None, error: type[Exception]) -> None:
    worker = Worker(says)
    with CandidateRun(worker, _LIMITS, grace_s=0.0) as candidate:
        if says == b"":
            with pytest.raises(EOFError):
                candidate.load("", "f")
        with pytest.raises(error):
            candidate.read()
    assert worker.done == [("stop", 7), ("wait", 7)]
    assert candidate.ending.stopped == "asked"
