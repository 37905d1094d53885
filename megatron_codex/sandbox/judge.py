"""The judge: does a program pass its tests? One worker process, one program at a time.

In: a Program. Out: a Judgement, whose Verdict only this, trusted, process writes. Three modes:
* pair (arbitrary tests): a jailed tester runs the tests and calls the function, which lives in a jailed candidate
  process; tests and expected values never enter the candidate's. The tester's word counts only with the nonce it was
  given, exit code 0 and at least one call.
* batch (io_examples): one jailed candidate gets all arguments at once; answers are compared here;
* script (stdio_examples): script_judge.py.
Limits are CPU time, with a wall-clock backstop. Source: docs/security.md.
"""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import suppress
from typing import Any

from megatron_codex.sandbox.candidate_run import CandidateRun
from megatron_codex.sandbox.comparison import describe_exception, difference
from megatron_codex.sandbox.conclusion import Conclusions, Judgement, is_said_by
from megatron_codex.sandbox.frames import BrokenFrame, FrameTimeout, open_connection, read_frame, write_frame
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.script_judge import judge_script
from megatron_codex.sandbox.worker import Isolation, ProgramWorker, WorkerError
from megatron_codex.tagged import NotPlainData

DEFAULT_TIMEOUT_S = 3.0
"""Codex paper, appendix of the evaluation: 3.0 seconds a program."""
DEFAULT_MEMORY_BYTES = 1 << 30
_MAX_ATTEMPTS = 3
_DRIVER_GRACE_S = 30.0
_SAID = ("nonce", "verdict", "detail", "num_calls")
"""What a tester's report holds."""


class Judge:
    """One worker process and what it says of programs. Not for use from several threads at once."""

    def __init__(
        self,
        sandbox: Isolation,
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
        self._worker: ProgramWorker | None = None
        self._busy = self._interrupted = False

    def judge(self, program: Program) -> Judgement:
        """Judge one program; a failure of the sandbox itself is tried again in a new worker, then reported as infra."""
        self._busy = True
        try:
            return self._judge(program)
        finally:
            self._busy = False

    def _judge(self, program: Program) -> Judgement:
        attempt = 0
        while True:
            attempt += 1
            started = time.monotonic()
            try:
                judgement = self._judge_once(program)
            except BrokenFrame as error:  # the program, or what goes with it, is too large to be sent
                self.close()
                return self._conclusions.judgement("unsupported", str(error), 0.0, started)
            except (WorkerError, FrameTimeout, OSError) as error:
                self.close()
                judgement = self._conclusions.judgement("infra", f"{type(error).__name__}: {error}", 0.0, started)
            if judgement.verdict.verdict != "infra" or attempt == _MAX_ATTEMPTS or self._interrupted:
                return judgement

    def interrupt(self) -> None:
        """From another thread: end the program being judged, if any, with its worker; it is judged infra."""
        self._interrupted = True
        worker = self._worker
        if self._busy and worker is not None:
            worker.kill()

    @property
    def _conclusions(self) -> Conclusions:
        return Conclusions(sandbox=self.sandbox, limits=self.limits, cpu_factor=self.cpu_factor)

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
            self._worker = self.sandbox.start_worker(self.limits)
        if self._interrupted:
            raise WorkerError("interrupted")
        judgement = None
        if program.io_examples:
            judgement = self._judge_batch(self._worker, program)
        if program.test.strip() and (judgement is None or judgement.verdict.passed):
            judgement = self._judge_pair(self._worker, program)
        if program.stdio_examples and (judgement is None or judgement.verdict.passed):
            judgement = judge_script(self._worker, program, self._conclusions, grace_s=_DRIVER_GRACE_S)
        assert judgement is not None
        return judgement

    def _judge_batch(self, worker: ProgramWorker, program: Program) -> Judgement:
        started = time.monotonic()
        with CandidateRun(worker, self.limits, grace_s=_DRIVER_GRACE_S) as candidate:
            try:
                outcome = _ask_all(candidate, program)
            except EOFError:
                outcome = ("died", "its process ended during the tests")
            except (BrokenFrame, NotPlainData) as error:
                outcome = ("unsupported", str(error))
        return self._conclusions.of_ending(*outcome, candidate.ending, started)

    def _judge_pair(self, worker: ProgramWorker, program: Program) -> Judgement:
        started = time.monotonic()
        deadline = started + self.limits.longest_s + _DRIVER_GRACE_S
        nonce = secrets.token_hex(16)
        job = [program.references, program.classes, program.test, program.entry_point, nonce]
        with open_connection() as (for_tester, for_candidate), open_connection() as (report, report_end):
            candidate = worker.spawn(b"candidate", [for_candidate.fileno()], self.limits)
            for_candidate.close()
            _send_program(for_tester, program, deadline)
            tester = worker.spawn(b"tester", [for_tester.fileno(), report_end.fileno()], self.limits)
            for_tester.close()
            report_end.close()
            report.setblocking(False)
            said = _ask_tester(report.fileno(), job, deadline)
            tester_ending = worker.wait(tester, timeout_s=_DRIVER_GRACE_S)
        worker.stop(candidate)
        ending = worker.wait(candidate, timeout_s=_DRIVER_GRACE_S)
        trusted = said if _is_trusted(said, nonce) and tester_ending.exit == 0 else None
        return self._conclude_pair(trusted, tester_ending, ending, started)

    def _conclude_pair(
        self, said: dict[str, Any] | None, tester_ending: Ending, ending: Ending, started: float
    ) -> Judgement:
        say = self._conclusions
        if tester_ending.setup_error:
            return say.judgement("infra", tester_ending.setup_error, ending.cpu_s, started)
        if (tester_ending.stopped == "cpu" or say.is_over(tester_ending)) and ending.stopped in ("", "asked"):
            # The tests themselves took too long: with answers that are costly to check, or by their nature.
            return say.judgement("timeout", f"the tests {say.limit_text('cpu')}", ending.cpu_s, started)
        if tester_ending.stopped == "wall" and ending.stopped in ("", "asked"):
            return say.judgement("timeout", say.limit_text("wall"), ending.cpu_s, started, starved=True)
        if said is not None:
            return say.of_ending(said["verdict"], said["detail"], ending, started)
        if ending.stopped in ("cpu", "wall"):
            return say.of_ending("died", "", ending, started)
        detail = f"the tester gave no verdict (exit {tester_ending.exit})"
        return say.judgement("infra", detail, ending.cpu_s, started)


def _ask_all(candidate: CandidateRun, program: Program) -> tuple[str, str]:
    calls = [{"args": each["args"], "kwargs": each.get("kwargs", {})} for each in program.io_examples]
    loaded = candidate.load(program.source, program.entry_point, calls)
    if "raised" in loaded:
        return "error", describe_exception(loaded)
    for number, example in enumerate(program.io_examples, 1):
        answer = candidate.read()
        if "unsupported" in answer:
            return "unsupported", str(answer["unsupported"])
        fault = difference(answer, example)
        if fault:
            name = "error" if "raised" in answer and "raises" not in example else "wrong"
            return name, f"call {number} of {len(calls)}: {fault}"
    return "passed", ""


def _send_program(end: socket.socket, program: Program, deadline: float) -> None:
    """Through the tester's end, before the tester holds it: the candidate needs one channel only."""
    end.setblocking(False)
    with suppress(BrokenPipeError, ConnectionResetError):  # it died already; its Ending says how
        write_frame(end.fileno(), {"source": program.source, "entry_point": program.entry_point}, deadline=deadline)
    end.setblocking(True)


def _ask_tester(report: int, job: list[Any], deadline: float) -> dict[str, Any] | None:
    """The tester's verdict, or None when it ended without one."""
    try:
        write_frame(report, job, deadline=deadline)
        said = read_frame(report, deadline=deadline)
    except (EOFError, BrokenFrame, BrokenPipeError, ConnectionResetError):
        return None
    if type(said) is not list or len(said) != len(_SAID):
        return None
    return dict(zip(_SAID, said, strict=True))


def _is_trusted(said: Any, nonce: str) -> bool:
    return is_said_by(said, nonce) and bool(said["verdict"] != "passed" or said["num_calls"] >= 1)
