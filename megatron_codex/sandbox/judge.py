"""The judge: does a program pass its tests? One worker process, one program at a time.

In: a Program. Out: a Judgement, whose Verdict only this, trusted, process writes. Three modes:
* pair (arbitrary tests): a jailed tester runs the tests and calls the function, which lives in a jailed candidate
  process; tests and expected values never enter the candidate's. The tester's word counts only with the nonce it was
  given, exit code 0 and at least one call.
* batch (io_examples): one jailed candidate gets all arguments at once; answers are compared here;
* script (stdio_examples): a jailed process for each input; its output is compared here, or by a checker in a jail of
  its own.
Limits are CPU time, with a wall-clock backstop. Source: docs/security.md.
"""

from __future__ import annotations

import secrets
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, cast

from megatron_codex.records import VERDICT_NAMES, Verdict, VerdictName
from megatron_codex.sandbox.comparison import describe_exception, difference
from megatron_codex.sandbox.frames import BrokenFrame, FrameTimeout, read_frame, write_frame
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.output import output_difference
from megatron_codex.sandbox.probe import Sandbox
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.stdio import MAX_OUTPUT_BYTES, ScriptRun, ask_checker, run_script
from megatron_codex.sandbox.worker import Ending, Worker, WorkerError
from megatron_codex.tagged import NotPlainData

DEFAULT_TIMEOUT_S = 3.0
"""Codex paper, appendix of the evaluation: 3.0 seconds a program."""
DEFAULT_MEMORY_BYTES = 1 << 30
_MAX_ATTEMPTS = 3
_DRIVER_GRACE_S = 30.0
_COMPUTING = 0.05
"""Share of the wall-clock limit: who used less CPU time waited of its own accord."""
_PATIENCE = 5.0
"""Times the wall-clock limit, for a program that computed but got too little of a busy processor."""
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A Verdict, and whether it stands as it is.

    starved: it timed out by the clock on the wall without using up its CPU time, which a busy machine alone may cause:
    to be run again with nothing beside it. busy_s: CPU time of all its processes.
    """

    verdict: Verdict
    starved: bool = False
    busy_s: float = 0.0


class Judge:
    """One worker process and what it says of programs. Not for use from several threads at once."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        cpu_factor: float = 1.0,
    ) -> None:
        """timeout_s: CPU time of the candidate for all its tests, and of the tests; twice that and 1 s on the clock.

        cpu_factor: times timeout_s, for a slow processor (calibration.py); it stands in every verdict.
        """
        self.sandbox = sandbox
        self.cpu_factor = cpu_factor
        cpu_s = timeout_s * cpu_factor
        self.limits = Limits(cpu_s=cpu_s, wall_s=2 * cpu_s + 1, memory_bytes=memory_bytes)
        self._worker: Worker | None = None

    def judge(self, program: Program) -> Judgement:
        """Judge one program; a failure of the sandbox itself is tried again in a new worker, then reported as infra.

        A program that was stopped by the clock on the wall while it computed gets more of that clock: only its CPU time
        counts, whatever else this machine does.
        """
        judgement = self._judge(program)
        if judgement.starved and judgement.busy_s >= _COMPUTING * self.limits.wall_s:
            usual = self.limits
            self.limits = replace(usual, wall_s=_PATIENCE * usual.wall_s)
            try:
                return self._judge(program)
            finally:
                self.limits = usual
        return judgement

    def _judge(self, program: Program) -> Judgement:
        attempt = 0
        while True:
            attempt += 1
            started = time.monotonic()
            try:
                judgement = self._judge_once(program)
            except (WorkerError, FrameTimeout, OSError) as error:
                self.close()
                judgement = self._judgement("infra", f"{type(error).__name__}: {error}", 0.0, started)
            if judgement.verdict.verdict != "infra" or attempt == _MAX_ATTEMPTS:
                return judgement

    def close(self) -> None:
        """End the worker process; the next judge() starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _judge_once(self, program: Program) -> Judgement:
        if self._worker is None:
            self._worker = self.sandbox.start_worker()
        judgement = None
        if program.io_examples:
            judgement = self._judge_batch(self._worker, program)
        if program.test.strip() and (judgement is None or judgement.verdict.passed):
            judgement = self._judge_pair(self._worker, program)
        if program.stdio_examples and (judgement is None or judgement.verdict.passed):
            judgement = self._judge_script(self._worker, program)
        assert judgement is not None
        return judgement

    def _judge_batch(self, worker: Worker, program: Program) -> Judgement:
        started = time.monotonic()
        deadline = started + self.limits.wall_s + _DRIVER_GRACE_S
        with _connection() as (ours, theirs):
            run = worker.spawn("candidate", [theirs.fileno()], self.limits)
            theirs.close()
            ours.setblocking(False)
            try:
                outcome = self._ask_all(ours.fileno(), program, deadline)
            except (EOFError, BrokenPipeError, ConnectionResetError):
                outcome = ("died", "its process ended during the tests")
            except (BrokenFrame, NotPlainData) as error:
                outcome = ("unsupported", str(error))
        worker.stop(run)
        ending = worker.wait(run, timeout_s=_DRIVER_GRACE_S)
        return self._conclude(*outcome, ending, started)

    def _ask_all(self, channel: int, program: Program, deadline: float) -> tuple[str, str]:
        write_frame(channel, {"source": program.source, "entry_point": program.entry_point}, deadline=deadline)
        calls = [{"args": each["args"], "kwargs": each.get("kwargs", {})} for each in program.io_examples]
        write_frame(channel, {"calls": calls}, deadline=deadline)
        loaded = _answer_of(read_frame(channel, deadline=deadline))
        if "raised" in loaded:
            return "error", describe_exception(loaded)
        for number, example in enumerate(program.io_examples, 1):
            answer = _answer_of(read_frame(channel, deadline=deadline))
            if "unsupported" in answer:
                return "unsupported", str(answer["unsupported"])
            fault = difference(answer, example)
            if fault:
                name = "error" if "raised" in answer and "raises" not in example else "wrong"
                return name, f"call {number} of {len(calls)}: {fault}"
        return "passed", ""

    def _judge_pair(self, worker: Worker, program: Program) -> Judgement:
        started = time.monotonic()
        deadline = started + self.limits.wall_s + _DRIVER_GRACE_S
        nonce = secrets.token_hex(16)
        job = {
            "references": program.references,
            "classes": program.classes,
            "test": program.test,
            "entry_point": program.entry_point,
            "nonce": nonce,
        }
        with _connection() as (for_tester, for_candidate), _connection() as (report, report_end):
            candidate = worker.spawn("candidate", [for_candidate.fileno()], self.limits)
            for_candidate.close()
            _send_program(for_tester, program, deadline)
            tester = worker.spawn("tester", [for_tester.fileno(), report_end.fileno()], self.limits)
            for_tester.close()
            report_end.close()
            report.setblocking(False)
            said = _ask_tester(report.fileno(), job, deadline)
            tester_ending = worker.wait(tester, timeout_s=_DRIVER_GRACE_S)
        worker.stop(candidate)
        ending = worker.wait(candidate, timeout_s=_DRIVER_GRACE_S)
        trusted = said if _is_trusted(said, nonce) and tester_ending.exit == 0 else None
        judgement = self._conclude_pair(trusted, tester_ending, ending, started)
        return replace(judgement, busy_s=ending.cpu_s + tester_ending.cpu_s)

    def _conclude_pair(
        self, said: dict[str, Any] | None, tester_ending: Ending, ending: Ending, started: float
    ) -> Judgement:
        if tester_ending.setup_error:
            return self._judgement("infra", tester_ending.setup_error, ending.cpu_s, started)
        if (tester_ending.stopped == "cpu" or self._is_over(tester_ending)) and ending.stopped in ("", "asked"):
            # The tests themselves took too long: with answers that are costly to check, or by their nature.
            return self._judgement("timeout", f"the tests {self._limit_text('cpu')}", ending.cpu_s, started)
        if tester_ending.stopped == "wall" and ending.stopped in ("", "asked"):
            return self._judgement("timeout", self._limit_text("wall"), ending.cpu_s, started, starved=True)
        if said is None:
            if ending.stopped in ("cpu", "wall"):
                return self._conclude("died", "", ending, started)
            return self._judgement(
                "infra", f"the tester gave no verdict (exit {tester_ending.exit})", ending.cpu_s, started
            )
        return self._conclude(said["verdict"], said["detail"], ending, started)

    def _judge_script(self, worker: Worker, program: Program) -> Judgement:
        """Each input in turn, up to the first that fails. cpu_s of the verdict: of all runs."""
        started, cpu_s = time.monotonic(), 0.0
        for number, example in enumerate(program.stdio_examples, 1):
            deadline = time.monotonic() + self.limits.wall_s + _DRIVER_GRACE_S
            stdin = example["input"].encode(errors="surrogateescape")
            run = run_script(worker, program.source, stdin=stdin, limits=self.limits, deadline=deadline)
            judgement = self._conclude(*_outcome_of(run), run.ending, started)
            if judgement.verdict.passed and program.checker.strip():
                judgement = self._ask_checker(worker, program.checker, example, run.output, started)
            elif judgement.verdict.passed:
                fault = output_difference(run.output, example)
                judgement = self._judgement("wrong" if fault else "passed", fault, 0.0, started)
            cpu_s += run.ending.cpu_s
            verdict = replace(judgement.verdict, cpu_s=round(cpu_s, 6))
            if not verdict.passed:
                detail = printable(f"test {number} of {len(program.stdio_examples)}: {verdict.detail}")
                return replace(judgement, verdict=replace(verdict, detail=detail))
        return replace(judgement, verdict=verdict)

    def _ask_checker(
        self, worker: Worker, source: str, example: dict[str, Any], output: bytes, started: float
    ) -> Judgement:
        deadline = time.monotonic() + self.limits.wall_s + _DRIVER_GRACE_S
        nonce = secrets.token_hex(16)
        with _connection() as (report, report_end):
            checker = worker.spawn("checker", [report_end.fileno()], self.limits)
            report_end.close()
            report.setblocking(False)
            said = ask_checker(report.fileno(), source, nonce, example, output, deadline)
        ending = worker.wait(checker, timeout_s=_DRIVER_GRACE_S)
        if ending.setup_error:
            return self._judgement("infra", ending.setup_error, 0.0, started)
        if ending.stopped in ("cpu", "wall"):
            detail, starved = f"the checker {self._limit_text(ending.stopped)}", ending.stopped == "wall"
            judgement = self._judgement("timeout", detail, 0.0, started, starved=starved)
            return replace(judgement, busy_s=ending.cpu_s)
        if not _is_of(said, nonce) or ending.exit != 0:
            return self._judgement("infra", f"the checker gave no verdict (exit {ending.exit})", 0.0, started)
        return self._judgement(said["verdict"], said["detail"], 0.0, started)

    def _conclude(self, name: str, detail: str, ending: Ending, started: float) -> Judgement:
        """Put together what was seen of a candidate's answers and how its process ended."""
        if ending.setup_error:
            return self._judgement("infra", ending.setup_error, ending.cpu_s, started)
        if name == "passed" and self._is_over(ending):
            # It was done before the worker, on a busy machine, came to stop it. Only its CPU time may decide.
            return self._judgement("timeout", self._limit_text("cpu"), ending.cpu_s, started)
        if name != "died":
            return self._judgement(name, detail, ending.cpu_s, started)
        if ending.stopped in ("cpu", "wall"):
            detail, starved = self._limit_text(ending.stopped), ending.stopped == "wall"
            return self._judgement("timeout", detail, ending.cpu_s, started, starved=starved)
        if ending.exit == -signal.SIGKILL and self._is_over(ending):
            return self._judgement("timeout", self._limit_text("cpu"), ending.cpu_s, started)
        if ending.exit == -signal.SIGKILL and not ending.stopped and self.sandbox.level == "A":
            # Pid 1 of a pid namespace cannot be killed from inside: the host did it, out of memory perhaps.
            return self._judgement("infra", "its process was killed from outside", ending.cpu_s, started)
        return self._judgement("died", f"{detail} ({_describe_exit(ending)})", ending.cpu_s, started)

    def _is_over(self, ending: Ending) -> bool:
        return ending.cpu_s >= self.limits.cpu_s

    def _limit_text(self, kind: str) -> str:
        if kind == "cpu":
            return f"used up {self.limits.cpu_s:g} s of CPU time"
        return f"gave no verdict within {self.limits.wall_s:g} s"

    def _judgement(self, name: str, detail: str, cpu_s: float, started: float, *, starved: bool = False) -> Judgement:
        verdict = Verdict(
            verdict=cast(VerdictName, name),
            detail=printable(detail),
            cpu_s=round(cpu_s, 6),
            wall_s=round(time.monotonic() - started, 6),
            isolation=self.sandbox.isolation,
            cpu_factor=self.cpu_factor,
        )
        return Judgement(verdict=verdict, starved=starved, busy_s=cpu_s)


def _outcome_of(run: ScriptRun) -> tuple[str, str]:
    """What the way in which a script ended says; passed: its output decides."""
    if run.flooded:
        return "wrong", f"its output is longer than {MAX_OUTPUT_BYTES} bytes"
    if run.ending.stopped or run.ending.exit < 0:
        return "died", "its process was ended"
    if run.ending.exit:
        return "error", run.last_error_line or f"exit code {run.ending.exit}"
    return "passed", ""


def printable(text: str) -> str:
    """One short line without control characters or lone surrogates: the text may come from a hostile program."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:_MAX_DETAIL_CHARS])
    return shown if len(text) <= _MAX_DETAIL_CHARS else shown + "..."


@contextmanager
def _connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair()
    with first, second:
        yield first, second


def _send_program(end: socket.socket, program: Program, deadline: float) -> None:
    """Through the tester's end, before the tester holds it: the candidate needs one channel only."""
    end.setblocking(False)
    with suppress(BrokenPipeError, ConnectionResetError):  # it died already; its Ending says how
        write_frame(end.fileno(), {"source": program.source, "entry_point": program.entry_point}, deadline=deadline)
    end.setblocking(True)


def _ask_tester(report: int, job: dict[str, Any], deadline: float) -> Any:
    """The tester's verdict frame, or None when it ended without one."""
    try:
        write_frame(report, job, deadline=deadline)
        return read_frame(report, deadline=deadline)
    except (EOFError, BrokenFrame, BrokenPipeError, ConnectionResetError):
        return None


def _is_of(said: Any, nonce: str) -> bool:
    return type(said) is dict and said.get("nonce") == nonce and said.get("verdict") in VERDICT_NAMES


def _is_trusted(said: Any, nonce: str) -> bool:
    return _is_of(said, nonce) and bool(said["verdict"] != "passed" or said["num_calls"] >= 1)


def _answer_of(frame: Any) -> dict[str, Any]:
    if type(frame) is not dict:
        raise NotPlainData("the answer is malformed")
    return frame


def _describe_exit(ending: Ending) -> str:
    if ending.exit < 0:
        return (
            f"signal {signal.Signals(-ending.exit).name}"
            if -ending.exit in set(signal.Signals)
            else f"signal {-ending.exit}"
        )
    return f"exit code {ending.exit}"
