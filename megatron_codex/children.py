"""Processes that belong together: started, and waited for until all, or a first bad one, have ended.

In: a command. Out: how they ended, named by the first that ended badly. A signal that asks this process to stop is
handed on to them: a launcher in front of ranks is stopped as the ranks are. They save and end, and it ends with their
code.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

HANDED_ON = (signal.SIGTERM, signal.SIGUSR1)

_POLL_S = 0.05
_GRACE_S = 10.0
"""Time that processes have to end by themselves once one of them has ended with an error: they say why."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How they ended."""

    code: int
    """0; or, of the first that ended badly, its exit code, or 128 + the number of the signal that ended it."""
    how: str
    """For people: which one that was, and how it ended."""
    told: bool
    """Whether a signal was handed on to them."""


def run_together(command: Sequence[str], *, environments: Sequence[Mapping[str, str]], name: str) -> Ended:
    """Run a command once in each environment, until all have ended; or one badly, and the others had time to say why.

    name: what one of them is, for people: with its number where there are several.
    """
    processes: list[subprocess.Popen[bytes]] = []
    with _handing_on(processes) as told:
        try:
            with _interrupt_later():
                for environment in environments:
                    processes.append(subprocess.Popen(command, env=environment))
                    _send(processes[-1:], told)  # what came while it was being started
            first, code = _first_bad(processes)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
            for process in processes:
                process.wait()
        who = name if len(processes) == 1 else f"{name} {first} of {len(processes)}"
        return _ended(code, who, several=len(processes) > 1, told=bool(told))


def _first_bad(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int]:
    """(its number, its return code) of the first that ended badly, once the others need not be waited for; (0, 0)."""
    bad: tuple[int, int] | None = None
    grace_ends = float("inf")
    while True:
        codes = [process.poll() for process in processes]
        if bad is None:
            # One that a signal ended before one that ended by itself because of it.
            found = sorted((code, number) for number, code in enumerate(codes) if code)
            if found:
                bad = (found[0][1], found[0][0])
                grace_ends = time.monotonic() + (_GRACE_S if bad[1] > 0 else 0.0)
        if None not in codes or time.monotonic() > grace_ends:
            return bad or (0, 0)
        time.sleep(_POLL_S)


def _ended(code: int, who: str, *, several: bool, told: bool) -> Ended:
    if code == 0:
        return Ended(code=0, how="", told=told)
    if code > 0:
        first = " was the first to end," if several else " ended"
        return Ended(code=code, how=f"{who}{first} with exit code {code}", told=told)
    how = f"{who} was ended by {_signal_name(-code)}" + ("; the other ranks were ended too" if several else "")
    if not told:
        memory = "perhaps for want of memory: give it more or the model less"
        how += f"; {memory if code == -signal.SIGKILL else 'see its output above'}"
    return Ended(code=128 - code, how=how, told=told)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _send(processes: Sequence[subprocess.Popen[bytes]], numbers: Sequence[int]) -> None:
    for process in processes:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


@contextmanager
def _handing_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[Sequence[int]]:
    """Within the block signals are handed on to whatever is in the list; gives those that were."""
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # Python hands signals to that one only
        yield told
        return

    def hand_on(number: int, frame: Any) -> None:
        told.append(number)
        _send(processes, [number])

    before = {number: signal.signal(number, hand_on) for number in HANDED_ON}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _interrupt_later() -> Iterator[None]:
    """Ctrl-C waits for the end of the block: of a process that is just being started nobody would know."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
