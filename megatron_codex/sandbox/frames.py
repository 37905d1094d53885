"""Messages between processes: 4 bytes of length (big-endian), then that much JSON. Every size is checked before use.

A peer may be hostile: whatever it sends yields a JSON value, BrokenFrame or EOFError, nothing else.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_FRAME_BYTES = 8 << 20
_HEADER = struct.Struct(">I")
_READ_BYTES = 1 << 20
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""What json.loads comes to, without the white space around and the choice of an encoding."""


class BrokenFrame(ValueError):
    """What came (or was to be sent) is no message: too large, not JSON, or nested too deep."""


class FrameTimeout(Exception):
    """The peer neither sent nor took bytes before the deadline."""


def write_frame(descriptor: int, message: Any, *, deadline: float | None = None) -> None:
    """Send one message. deadline: of time.monotonic(), for non-blocking descriptors.

    Raises: BrokenFrame when it is too large, OSError (EPIPE, ECONNRESET) when the peer is gone, FrameTimeout.
    """
    write_bytes(descriptor, pack_frame(message), deadline=deadline)


def pack_frame(message: Any) -> bytes:
    """A message as it is sent. Raises: BrokenFrame when it is too large."""
    body = json.dumps(message).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a message of {len(body)} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return _HEADER.pack(len(body)) + body


def read_frame(descriptor: int, *, deadline: float | None = None) -> Any:
    """Receive one message. Raises: EOFError when the peer is gone, BrokenFrame, FrameTimeout."""
    size = _checked_size(read_bytes(descriptor, _HEADER.size, deadline=deadline))
    return parse_body(read_bytes(descriptor, size, deadline=deadline))


class FrameReader:
    """Receives messages of a non-blocking descriptor, as many at a time as have come."""

    def __init__(self, descriptor: int, *, deadline: float) -> None:
        """deadline: of time.monotonic(), for every message."""
        self._descriptor, self._deadline = descriptor, deadline
        self._buffer = bytearray()

    def read(self) -> Any:
        """The next message. Raises: as read_frame."""
        size = _checked_size(self._take(_HEADER.size))
        return parse_body(self._take(size))

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += _read_some(self._descriptor, _READ_BYTES, self._deadline)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def write_bytes(descriptor: int, data: bytes, *, deadline: float | None = None) -> None:
    """Send bytes as they are. Raises: OSError when the peer is gone, FrameTimeout."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            _wait(descriptor, select.POLLOUT, deadline)


def read_bytes(descriptor: int, size: int, *, deadline: float | None = None) -> bytes:
    """Receive this many bytes. Raises: EOFError when the peer is gone, FrameTimeout."""
    parts = bytearray()
    while len(parts) < size:
        parts += _read_some(descriptor, min(size - len(parts), _READ_BYTES), deadline)
    return bytes(parts)


def _checked_size(header: bytes) -> int:
    (size,) = _HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise BrokenFrame(f"a message of {size} bytes was announced; at most {MAX_FRAME_BYTES} are allowed")
    return int(size)


def parse_body(body: bytes) -> Any:
    """The message of a frame, without its length. Raises: BrokenFrame."""
    try:
        if body.isascii():
            message, end = _scan(body.decode("ascii"), 0)
            if end == len(body):
                return message
    except (ValueError, RecursionError, StopIteration):
        pass  # for the other to say
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BrokenFrame(f"not JSON: {error}") from error


def _read_some(descriptor: int, size: int, deadline: float | None) -> bytes:
    while True:
        try:
            part = os.read(descriptor, size)
        except BlockingIOError:
            _wait(descriptor, select.POLLIN, deadline)
            continue
        except ConnectionResetError:
            part = b""
        if not part:
            raise EOFError("the other process is gone")
        return part


@contextmanager
def open_connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected ends, closed at the end of the block."""
    first, second = socket.socketpair()
    with first, second:
        yield first, second


def _wait(descriptor: int, event: int, deadline: float | None) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    timeout_ms = None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)
    if not poll.poll(timeout_ms):
        raise FrameTimeout("no answer in time")
