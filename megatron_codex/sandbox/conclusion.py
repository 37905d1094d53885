"""What is said of a program: from what was seen of it and from how its process ended.

In: what a mode of judging saw (the name of a verdict, a detail), an Ending. Out: a Judgement. Only CPU time ends a
program for good: who was stopped by the clock on the wall is starved, and judged again.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from typing import Any, cast

from megatron_codex.records import VERDICT_NAMES, Verdict, VerdictName
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending
from megatron_codex.sandbox.worker import Isolation

_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A Verdict, and whether it stands as it is.

    starved: it timed out by the clock on the wall without using up its CPU time, which a busy machine alone may cause:
    to be run again with nothing beside it.
    """

    verdict: Verdict
    starved: bool = False


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """Makes the Judgements of programs that run in one sandbox under the same limits."""

    sandbox: Isolation
    limits: Limits
    cpu_factor: float

    def of_ending(self, name: str, detail: str, ending: Ending, started: float) -> Judgement:
        """Put together what was seen of a candidate's answers and how its process ended."""
        if ending.setup_error:
            return self.judgement("infra", ending.setup_error, ending.cpu_s, started)
        if name == "passed" and self.is_over(ending):
            # It was done before the worker, on a busy machine, came to stop it. Only its CPU time may decide.
            return self.judgement("timeout", self.limit_text("cpu"), ending.cpu_s, started)
        if name != "died":
            return self.judgement(name, detail, ending.cpu_s, started)
        if ending.stopped in ("cpu", "wall"):
            detail, starved = self.limit_text(ending.stopped), ending.stopped == "wall"
            return self.judgement("timeout", detail, ending.cpu_s, started, starved=starved)
        if ending.exit == -signal.SIGKILL and self.is_over(ending):
            return self.judgement("timeout", self.limit_text("cpu"), ending.cpu_s, started)
        if ending.exit == -signal.SIGKILL and not ending.stopped and self.sandbox.level == "A":
            # Pid 1 of a pid namespace cannot be killed from inside: the host did it, out of memory perhaps.
            return self.judgement("infra", "its process was killed from outside", ending.cpu_s, started)
        return self.judgement("died", f"{detail} ({_describe_exit(ending)})", ending.cpu_s, started)

    def is_over(self, ending: Ending) -> bool:
        return ending.cpu_s >= self.limits.cpu_s

    def limit_text(self, kind: str) -> str:
        if kind == "cpu":
            return f"used up {self.limits.cpu_s:g} s of CPU time"
        return f"gave no verdict within {self.limits.wall_s:g} s"

    def judgement(self, name: str, detail: str, cpu_s: float, started: float, *, starved: bool = False) -> Judgement:
        verdict = Verdict(
            verdict=cast(VerdictName, name),
            detail=printable(detail),
            cpu_s=round(cpu_s, 6),
            wall_s=round(time.monotonic() - started, 6),
            isolation=self.sandbox.isolation,
            cpu_factor=self.cpu_factor,
        )
        return Judgement(verdict=verdict, starved=starved)


def is_said_by(message: Any, nonce: str) -> bool:
    """Whether this is a verdict of the process that was given the nonce."""
    return type(message) is dict and message.get("nonce") == nonce and message.get("verdict") in VERDICT_NAMES


def printable(text: str) -> str:
    """One short line without control characters or lone surrogates: the text may come from a hostile program."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:_MAX_DETAIL_CHARS])
    return shown if len(text) <= _MAX_DETAIL_CHARS else shown + "..."


def _describe_exit(ending: Ending) -> str:
    if ending.exit < 0:
        return (
            f"signal {signal.Signals(-ending.exit).name}"
            if -ending.exit in set(signal.Signals)
            else f"signal {-ending.exit}"
        )
    return f"exit code {ending.exit}"
