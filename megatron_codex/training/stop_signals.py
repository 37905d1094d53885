"""Signals that ask a run to stop: SIGUSR1 (the time limit is near) and SIGTERM (the job is cancelled or put back).

In: signals to this process. Out: `asked`, which all ranks compare at the beginning of each step (training/step.py), so
that they stop after the same one. A signal while the first is still being followed is answered in the log at once, also
by a rank that waits in a collective: the run goes on saving, and says what is lost if it is killed now.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

STOPPING = (signal.SIGUSR1, signal.SIGTERM)

_logger = logging.getLogger(__name__)


class StopSignals:
    """Listens for signals within its block. A context manager. Python hands signals to the main thread only: in
    another thread nothing is heard, and signals do what they did."""

    def __init__(self, *, doing: Callable[[], str]) -> None:
        """doing: what this rank is at, for people."""
        self.asked: signal.Signals | None = None
        """The first signal that came; None: none has."""
        self._asked_at = 0.0
        self._doing = doing
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        # Python calls its handlers between two instructions only, which a collective can hold off for ever; the number
        # of a signal is written to this socket when it comes, and a thread reads it.
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="stop signals", daemon=True)
        self._thread.start()
        self._descriptor_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        for number in STOPPING:
            self._before[number] = signal.signal(number, lambda number, frame: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._descriptor_before)
        self._sender.close()
        self._thread.join()
        self._receiver.close()

    def _listen(self) -> None:
        while numbers := self._receiver.recv(16):
            for number in numbers:
                if number in STOPPING:  # the socket tells of all signals that Python handles
                    self._receive(signal.Signals(number))

    def _receive(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if self.asked is None:
            self.asked, self._asked_at = number, now
            _logger.info("%s: stopping at the end of this step, after a checkpoint (%s)", number.name, self._doing())
            return
        _logger.warning(
            "%s %.1f s after %s, and not stopped yet (%s): the checkpoint is still to come; if this process is killed "
            "before, the run goes on from the one before it. Send the first signal earlier (restarts.signal_lead_s)",
            number.name,
            now - self._asked_at,
            self.asked.name,
            self._doing(),
        )
