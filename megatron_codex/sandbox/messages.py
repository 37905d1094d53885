"""What driver and worker say to each other: one packet a message, of the same layouts as csrc/sandbox/worker.h.

A request may carry descriptors (SCM_RIGHTS), which the program's process shall hold. Both sides are trusted.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

MAX_BYTES = 1 << 16
"""Of a request, descriptors apart."""
MAX_DESCRIPTORS = 8
SPAWN, STOP, COLLECT = 1, 2, 3

StoppedName = Literal["", "cpu", "wall", "asked", "memory"]
STOPPED: tuple[StoppedName, ...] = ("", "cpu", "wall", "asked", "memory")

_MAX_LIMITS = 16
_REQUEST = struct.Struct("@iiddii" + "qq" * _MAX_LIMITS)
_REPORT = struct.Struct("@iiiidd256s")

KernelLimits = tuple[tuple[int, int], ...]
"""(RLIMIT_*, value) pairs."""


class Request(NamedTuple):
    """kind: SPAWN, STOP or COLLECT. payload: for the role that is spawned, or the collector."""

    kind: int
    run: int
    cpu_s: float = 0.0
    wall_s: float = 0.0
    has_output: bool = False
    """The last descriptor becomes standard output and standard error."""
    limits: KernelLimits = ()
    payload: bytes = b""


class Ending(NamedTuple):
    """How a program's process ended.

    exit: code, or minus the signal's number. stopped: "" or why the worker killed it. setup_error: not empty when the
    jail could not be closed, so that the program never ran.
    """

    run: int
    exit: int
    stopped: StoppedName
    setup_error: str
    cpu_s: float
    wall_s: float


def pack_request(request: Request) -> bytes:
    """Raises: ValueError when it is too large."""
    numbers = [number for pair in request.limits for number in pair]
    numbers += [0] * (2 * _MAX_LIMITS - len(numbers))
    head = _REQUEST.pack(*request[:4], request.has_output, len(request.limits), *numbers)
    if len(head) + len(request.payload) > MAX_BYTES:
        raise ValueError(f"a request of {len(head) + len(request.payload)} bytes; at most {MAX_BYTES} are allowed")
    return head + request.payload


def unpack_request(message: bytes) -> Request:
    kind, run, cpu_s, wall_s, has_output, num_limits, *numbers = _REQUEST.unpack_from(message)
    limits = tuple(zip(numbers[0 : 2 * num_limits : 2], numbers[1 : 2 * num_limits : 2], strict=True))
    return Request(kind, run, cpu_s, wall_s, bool(has_output), limits, message[_REQUEST.size :])


def pack_ending(ending: Ending) -> bytes:
    setup = ending.setup_error.encode()[:256]
    numbers = (ending.run, ending.exit, STOPPED.index(ending.stopped), len(setup), ending.cpu_s, ending.wall_s)
    return _REPORT.pack(*numbers, setup)


def unpack_ending(message: bytes) -> Ending:
    run, exit_code, stopped, setup_chars, cpu_s, wall_s, setup = _REPORT.unpack(message)
    return Ending(run, exit_code, STOPPED[stopped], setup[:setup_chars].decode(errors="replace"), cpu_s, wall_s)
