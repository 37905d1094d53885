"""Writes this rank's heartbeat (heartbeat.py), and lets its stacks be asked for.

In: what the loop says it is doing, and the collectives that the rank is in. Out: RUN/heartbeats/rank-N.json, written by
a thread twice a second at most and only when something has changed; the main thread only sets a variable. When the
watchdog has found a hang, the thread ends this process, which its main thread in a collective cannot.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from megatron_codex.exit_codes import ExitCode
from megatron_codex.heartbeat import (
    ENDED,
    STACKS_SIGNAL,
    STARTING,
    Heartbeat,
    heartbeat_path,
    process_started,
    stacks_path,
    this_attempt,
    this_node,
    verdict_path,
    write_heartbeat,
)
from megatron_codex.parallel.collective_calls import CollectiveCalls

_logger = logging.getLogger(__name__)

_WRITE_S = 0.5
_LOOK_AFTER_S = 5.0
"""Without a change for so long, the thread looks for the watchdog's verdict: a hang has none."""


class Heart:
    """This rank's signs of life within its block. A context manager."""

    def __init__(
        self,
        run_dir: Path,
        *,
        rank: int,
        world_size: int,
        hang_timeout_s: float,
        start_timeout_s: float,
        calls: CollectiveCalls,
    ) -> None:
        self._run_dir, self._rank, self._calls = run_dir, rank, calls
        self._world_size = world_size
        self._limits = {"hang_timeout_s": hang_timeout_s, "start_timeout_s": start_timeout_s}
        self._path = heartbeat_path(run_dir, rank)
        self._state = (0, STARTING)
        self._complained = False
        self._ended = threading.Event()

    def beat(self, *, step: int, phase: str) -> None:
        """Say what this rank is doing now. Costs an assignment."""
        self._state = (step, phase)

    @property
    def doing(self) -> str:
        """For people: where this rank is."""
        return self._sign(*self._state, since=0.0).place

    def __enter__(self) -> Self:
        self._attempt, self._node, self._pid = this_attempt(), this_node(), os.getpid()
        self._verdict = verdict_path(self._run_dir, self._attempt)
        if self._rank == 0:  # of an earlier start without a number, as those by hand are
            self._verdict.unlink(missing_ok=True)
        self._started = process_started(self._pid) or ""
        self._open()
        self._thread = threading.Thread(target=self._write, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._say(self._sign(self._state[0], ENDED, since=time.time()))
        faulthandler.unregister(STACKS_SIGNAL)
        self._stacks.close()
        os.close(self._descriptor)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._stacks = stacks_path(self._run_dir, self._rank).open("w", encoding="utf-8")
        faulthandler.register(STACKS_SIGNAL, file=self._stacks, all_threads=True)
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o644)

    def _say(self, sign: Heartbeat) -> None:
        """Write it; into a new file where the old one is gone: the watchdog would take silence for a hang. That it
        cannot be written does not end a run."""
        try:
            if not self._is_in_place():
                before, stacks = self._descriptor, self._stacks
                self._open()
                stacks.close()
                os.close(before)
            write_heartbeat(self._descriptor, sign)
            self._complained = False
        except OSError as error:
            if not self._complained:
                _logger.warning(
                    "%s: no sign of life can be written (%s); the watchdog will take this rank for a hung one",
                    self._path,
                    error.strerror,
                )
            self._complained = True

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def _sign(self, step: int, phase: str, *, since: float) -> Heartbeat:
        call = self._calls.current
        return Heartbeat(
            rank=self._rank,
            world_size=self._world_size,
            node=self._node,
            pid=self._pid,
            process_started=self._started,
            attempt=self._attempt,
            step=step,
            phase=phase,
            collective=None if call is None else call.name,
            ranks=None if call is None else call.ranks,
            since=since,
            counts=dict(self._calls.counts),
            **self._limits,
        )

    def _write(self) -> None:
        last: tuple[object, ...] | None = None
        changed_at = 0.0
        while True:
            seen = (self._state, self._calls.current, sum(list(self._calls.counts.values())))
            if seen != last:
                last, changed_at = seen, time.monotonic()
                self._say(self._sign(*self._state, since=time.time()))
            elif time.monotonic() - changed_at > _LOOK_AFTER_S and self._verdict.exists():
                print(f"rank {self._rank}: ended, for the watchdog found a hang", file=sys.stderr, flush=True)
                os._exit(ExitCode.HANG)
            if self._ended.wait(_WRITE_S):
                return
