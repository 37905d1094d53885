"""What the ranks tell each other: files in a folder that all nodes share, and connections between the nodes.

In: this rank's numbers and the folder. Out: every rank's answers, those that did not come, and for each other node the
offset of its clock, or why it cannot be reached. Nothing here waits for ever for a rank that never answers.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from megatron_codex.files import atomic_file

_POLL_S = 0.1
_PINGS = 5
"""Of these the quickest tells the clock's offset: its answer was in the middle, give or take half its time."""
_TIME = struct.Struct("<d")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a rank answers."""

    rank: int
    node: str
    host: str
    port: int


class Folder:
    """Answers of the ranks of one attempt, a file each."""

    def __init__(self, path: Path, *, rank: int, world_size: int) -> None:
        self._path, self._rank, self._world_size = path, rank, world_size
        path.mkdir(parents=True, exist_ok=True)

    def answer(self, question: str, content: Mapping[str, Any]) -> None:
        """Give this rank's answer."""
        with atomic_file(self._path / f"{question}-{self._rank:05d}.json", "w") as handle:
            json.dump(dict(content), handle)

    def answer_of(self, question: str, rank: int) -> dict[str, Any] | None:
        """A rank's answer; None: it has not come yet."""
        try:
            text = (self._path / f"{question}-{rank:05d}.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        content: dict[str, Any] = json.loads(text)
        return content

    def answers(self, question: str, *, until: float, of: Collection[int] | None = None) -> dict[int, dict[str, Any]]:
        """Rank -> its answer; of those that have not come until this time (monotonic), none. of: whose; None: all."""
        ranks = range(self._world_size) if of is None else of
        found: dict[int, dict[str, Any]] = {}
        while True:
            for rank in ranks:
                answer = None if rank in found else self.answer_of(question, rank)
                if answer is not None:
                    found[rank] = answer
            if len(found) == len(ranks) or time.monotonic() > until:
                return found
            time.sleep(_POLL_S)


class ClockServer:
    """Tells whoever connects what this node's clock says. A context manager."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds of the Unix clock."""
        self._clock = clock
        self._socket = socket.create_server(("", 0), backlog=1024)
        self._ended = False
        self._thread = threading.Thread(target=self._serve, name="clock", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens, on all addresses of this node."""
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        self._socket.settimeout(0.2)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended:
            with contextlib.suppress(TimeoutError, OSError):
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(5.0)
                    while connection.recv(1):
                        connection.sendall(_TIME.pack(self._clock()))


def clock_offset(address: Address, *, timeout_s: float, clock: Callable[[], float] = time.time) -> float:
    """Seconds by which the other node's clock is ahead of this one's. Raises: OSError when it cannot be reached."""
    best, offset = float("inf"), 0.0
    with socket.create_connection((address.host, address.port), timeout=timeout_s) as connection:
        connection.settimeout(timeout_s)
        for _ in range(_PINGS):
            asked, here = time.perf_counter(), clock()
            connection.sendall(b"?")
            answer = b""
            while len(answer) < _TIME.size:
                received = connection.recv(_TIME.size - len(answer))
                if not received:
                    raise ConnectionError("it closed the connection")
                answer += received
            took = time.perf_counter() - asked
            if took < best:
                best, offset = took, _TIME.unpack(answer)[0] - (here + took / 2)
    return offset
