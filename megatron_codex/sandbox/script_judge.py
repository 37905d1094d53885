"""Judges scripts: a jailed process for each input, its output compared here or by a checker in a jail of its own.

In: a worker, a Program with stdio_examples. Out: a Judgement; its detail names the first input that failed.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import Any

from megatron_codex.sandbox.conclusion import Conclusions, Judgement, is_said_by, printable
from megatron_codex.sandbox.frames import open_connection
from megatron_codex.sandbox.output import output_difference
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.stdio import MAX_OUTPUT_BYTES, ScriptRun, ask_checker, run_script
from megatron_codex.sandbox.worker import ProgramWorker


def judge_script(worker: ProgramWorker, program: Program, conclusions: Conclusions, *, grace_s: float) -> Judgement:
    """Each input in turn, up to the first that fails. cpu_s of the verdict: of all runs.

    grace_s: how long the worker may take beyond its longest time.
    """
    limits = conclusions.limits
    started, cpu_s = time.monotonic(), 0.0
    for number, example in enumerate(program.stdio_examples, 1):
        deadline = time.monotonic() + limits.longest_s + grace_s
        stdin = example["input"].encode(errors="surrogateescape")
        run = run_script(worker, program.source, stdin=stdin, limits=limits, deadline=deadline)
        judgement = conclusions.of_ending(*_outcome_of(run), run.ending, started)
        if judgement.verdict.passed and program.checker.strip():
            judgement = _ask_checker(worker, program.checker, example, run.output, conclusions, grace_s=grace_s)
        elif judgement.verdict.passed:
            fault = output_difference(run.output, example)
            judgement = conclusions.judgement("wrong" if fault else "passed", fault, 0.0, started)
        cpu_s += run.ending.cpu_s
        wall_s = time.monotonic() - started
        verdict = replace(judgement.verdict, cpu_s=round(cpu_s, 6), wall_s=round(wall_s, 6))
        if not verdict.passed:
            detail = printable(f"test {number} of {len(program.stdio_examples)}: {verdict.detail}")
            return replace(judgement, verdict=replace(verdict, detail=detail))
    return replace(judgement, verdict=verdict)


def _ask_checker(
    worker: ProgramWorker,
    source: str,
    example: dict[str, Any],
    output: bytes,
    conclusions: Conclusions,
    *,
    grace_s: float,
) -> Judgement:
    started = time.monotonic()
    deadline = started + conclusions.limits.longest_s + grace_s
    nonce = secrets.token_hex(16)
    with open_connection() as (report, report_end):
        checker = worker.spawn(b"checker", [report_end.fileno()], conclusions.limits)
        report_end.close()
        report.setblocking(False)
        said = ask_checker(report.fileno(), source, nonce, example, output, deadline)
    ending = worker.wait(checker, timeout_s=grace_s)
    if ending.setup_error:
        return conclusions.judgement("infra", ending.setup_error, 0.0, started)
    stopped = "cpu" if conclusions.is_over(ending) else ending.stopped
    if stopped in ("cpu", "wall"):
        detail = f"the checker {conclusions.limit_text(stopped)}"
        return conclusions.judgement("timeout", detail, 0.0, started, starved=stopped == "wall")
    if not is_said_by(said, nonce) or ending.exit != 0:
        return conclusions.judgement("infra", f"the checker gave no verdict (exit {ending.exit})", 0.0, started)
    return conclusions.judgement(said["verdict"], said["detail"], 0.0, started)


def _outcome_of(run: ScriptRun) -> tuple[str, str]:
    """What the way in which a script ended says; passed: its output decides."""
    if run.flooded:
        return "wrong", f"its output is longer than {MAX_OUTPUT_BYTES} bytes"
    if run.ending.stopped or run.ending.exit < 0:
        return "died", "its process was ended"
    if run.ending.exit:
        return "error", run.last_error_line or f"exit code {run.ending.exit}"
    return "passed", ""
