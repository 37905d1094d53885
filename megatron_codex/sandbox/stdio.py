"""The driver's side of a script's run: feeds its standard input, takes its output, up to a cap.

In: a worker, a program's source, the text of its standard input. Out: what it wrote and how it ended. The script cannot
make this process wait: its pipes are polled to a deadline, and its limits end it.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from megatron_codex.sandbox.checker import TEXTS
from megatron_codex.sandbox.frames import (
    BrokenFrame,
    FrameTimeout,
    open_connection,
    read_frame,
    write_bytes,
    write_frame,
)
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending
from megatron_codex.sandbox.worker import ProgramWorker

MAX_OUTPUT_BYTES = 32 << 20
"""Of standard output; a script that writes more is stopped."""
_KEPT_ERROR_BYTES = 4096
_READ_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ScriptRun:
    """What a script wrote, and how it ended."""

    output: bytes
    flooded: bool
    """It wrote more than MAX_OUTPUT_BYTES and was stopped."""
    last_error_line: str
    """Of standard error: as a rule the exception that ended it."""
    ending: Ending


def run_script(worker: ProgramWorker, source: str, *, stdin: bytes, limits: Limits, deadline: float) -> ScriptRun:
    """Run a script once, in a fresh jailed process.

    deadline: of time.monotonic(), for the case that the worker does not enforce the limits.
    Raises: WorkerError, FrameTimeout, OSError: failures of the sandbox.
    """
    with _pipes() as (ours, theirs):
        with open_connection() as (channel, channel_end):
            run = worker.spawn(b"script", [channel_end.fileno(), *theirs], limits)
            channel_end.close()
            for descriptor in theirs:
                os.close(descriptor)
            theirs.clear()
            channel.setblocking(False)
            with suppress(BrokenPipeError, ConnectionResetError):  # it died already; its Ending says how
                write_frame(channel.fileno(), {"source": source}, deadline=deadline)
            streams = Streams(ours, stdin)
            streams.pump(deadline)
        if streams.flooded:
            worker.stop(run)
        ending = worker.wait(run, timeout_s=max(0.0, deadline - time.monotonic()))
    return ScriptRun(
        output=bytes(streams.output),
        flooded=streams.flooded,
        last_error_line=_last_line(streams.error),
        ending=ending,
    )


def ask_checker(
    report: int, source: str, nonce: str, example: Mapping[str, Any], output: bytes, deadline: float
) -> Any:
    """What a checker's process (checker.py) says, or None when it ended without a word. Raises: FrameTimeout."""
    texts = (example["input"], example.get("output", ""), output)
    data = [text if isinstance(text, bytes) else text.encode(errors="surrogateescape") for text in texts]
    sizes = {name: len(each) for name, each in zip(TEXTS, data, strict=True)}
    try:
        write_frame(report, {"source": source, "nonce": nonce, **sizes}, deadline=deadline)
        for each in data:
            write_bytes(report, each, deadline=deadline)
        return read_frame(report, deadline=deadline)
    except (EOFError, BrokenFrame, BrokenPipeError, ConnectionResetError):
        return None


class Streams:
    """The three pipes of a running script."""

    def __init__(self, descriptors: list[int], stdin: bytes) -> None:
        """descriptors: our ends of its standard input, output and error, which are closed one by one and taken out."""
        self._descriptors = descriptors
        self._stdin, self._stdout, self._stderr = descriptors
        self._rest = memoryview(stdin)
        self.output = bytearray()
        self.error = bytearray()
        self.flooded = False

    def pump(self, deadline: float) -> None:
        """Until the script has closed its output and error, or floods."""
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        poll.register(self._stderr, select.POLLIN)
        if self._rest:
            poll.register(self._stdin, select.POLLOUT)
        else:
            self._close(self._stdin)
        while not self.flooded and {self._stdout, self._stderr} & set(self._descriptors):
            events = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not events:
                raise FrameTimeout("a script was not stopped in time")
            for descriptor, _ in events:
                if not self._serve(descriptor):
                    poll.unregister(descriptor)
                    self._close(descriptor)

    def _serve(self, descriptor: int) -> bool:
        """Move some bytes; False when there are no more to come."""
        if descriptor == self._stdin:
            try:
                self._rest = self._rest[os.write(descriptor, self._rest) :]
            except BrokenPipeError:  # it does not read its input, or has ended
                return False
            return bool(self._rest)
        part = os.read(descriptor, _READ_BYTES)
        if descriptor == self._stdout:
            self.output += part
            self.flooded = len(self.output) > MAX_OUTPUT_BYTES
        else:
            self.error += part
            del self.error[:-_KEPT_ERROR_BYTES]
        return bool(part)

    def _close(self, descriptor: int) -> None:
        self._descriptors.remove(descriptor)
        os.close(descriptor)


@contextmanager
def _pipes() -> Iterator[tuple[list[int], list[int]]]:
    """Our ends (not blocking) and the script's of standard input, output and error; what is left of them is closed."""
    ours: list[int] = []
    theirs: list[int] = []
    with ExitStack() as stack:
        stack.callback(_close_all, ours, theirs)
        for number in range(3):
            reading, writing = os.pipe()
            ours.append(writing if number == 0 else reading)
            theirs.append(reading if number == 0 else writing)
            os.set_blocking(ours[-1], False)
        yield ours, theirs


def _close_all(*groups: list[int]) -> None:
    for group in groups:
        for descriptor in group:
            os.close(descriptor)


def _last_line(text: bytearray) -> str:
    lines = text.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
