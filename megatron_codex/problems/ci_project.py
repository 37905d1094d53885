"""One project, from its archive to its problems: trace, extract, replay, build; what falls out is counted.

In: a path and a TraceConfig. Out: a ProjectOutcome. Codex paper, sections 4.2 and 4.3.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems.ci_problem import build_problem
from megatron_codex.problems.context import NotExtractedError
from megatron_codex.problems.examples import is_testable, num_outcomes
from megatron_codex.problems.extract import ExtractedFunction, extract_function
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.modules import ProjectModules
from megatron_codex.problems.project import BrokenProjectError, Project, open_project
from megatron_codex.problems.replay import OpenPool, find_unstable, replay_functions
from megatron_codex.problems.traces import Trace, TracedFunction, trace_project
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

STAGES = ("called", "capturable", "extractable", "replayable", "deterministic", "problems")
_MIN_EXAMPLES = 2


@dataclass(kw_only=True)
class ProjectOutcome:
    """What came of one project. reason: "" when its suite ran."""

    path: Path
    name: str = ""
    reason: str = ""
    detail: str = ""
    funnel: Funnel = field(default_factory=lambda: Funnel(STAGES))
    problems: list[Problem] = field(default_factory=list)
    dropped: list[dict[str, str]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def drop(self, function: TracedFunction | str, stage: str, reason: str, detail: str = "") -> None:
        """Note why a function (or, by task_id, a problem) did not reach a stage."""
        self.funnel.drop(stage, reason)
        where = function if isinstance(function, str) else f"{function.file}:{function.line}:{function.name}"
        row = {"project": self.name, "function": where, "stage": stage, "reason": reason, "detail": detail}
        self.dropped.append(row)

    def to_json(self) -> dict[str, Any]:
        return {
            "project": self.name or self.path.name,
            "path": str(self.path),
            "status": "failed" if self.reason else "done",
            "reason": self.reason,
            "detail": self.detail,
            **self.facts,
            "seconds": round(self.seconds, 3),
            **self.funnel.to_json(),
        }


def trace_one_project(path: Path, config: TraceConfig) -> ProjectOutcome:
    """One project, from its archive to its problems; its own faults become the outcome's reason."""
    outcome, started = ProjectOutcome(path=path), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="megatron_codex_trace_") as directory:
        try:
            project = open_project(path, Path(directory))
            outcome.name = project.name
            outcome.facts = {"sha256": project.sha256, "licence": project.metadata.licence}
            trace = trace_project(
                project,
                Path(directory),
                num_samples=config.num_samples,
                timeout_s=config.timeout_s,
                memory_bytes=config.memory_bytes,
            )
            outcome.facts |= _facts_of(trace)
            _make_problems(outcome, project, trace, config)
        except BrokenProjectError as error:
            outcome.reason, outcome.detail = error.reason, error.detail
    outcome.seconds = time.monotonic() - started
    return outcome


def _make_problems(outcome: ProjectOutcome, project: Project, trace: Trace, config: TraceConfig) -> None:
    def open_pool() -> JudgePool:
        return JudgePool(config.workers, timeout_s=config.replay_timeout_s)

    functions = _extract(outcome, _capturable(outcome, trace.functions), project, config)
    replayed = _replay(outcome, functions, open_pool)
    problems = [build_problem(function, project, max_examples=config.max_examples) for function in replayed]
    programs = [Program.of(problem, problem.canonical_solution) for problem in problems]
    unstable = find_unstable(programs, open_pool, num_repeats=config.num_replays - 1)
    for index, (function, problem) in enumerate(zip(replayed, problems, strict=True)):
        if index in unstable:
            outcome.drop(function.traced, "deterministic", _fault_reason(unstable[index], "varies"), unstable[index])
            continue
        outcome.funnel.reach("deterministic")
        if not problem.docstring and not config.keep_without_docstring:
            outcome.drop(function.traced, "problems", "no docstring")
        elif num_outcomes(problem.io_examples) < config.min_outcomes:
            outcome.drop(function.traced, "problems", "too few different outcomes")
        else:
            outcome.problems.append(problem)
            outcome.funnel.reach("problems")


def _capturable(outcome: ProjectOutcome, functions: Sequence[TracedFunction]) -> list[TracedFunction]:
    kept = []
    for function in functions:
        outcome.funnel.reach("called")
        function.examples = [example for example in function.examples if is_testable(example)]
        if function.refused:
            outcome.drop(function, "capturable", function.refused)
        elif function.contradicts_itself:
            outcome.drop(function, "capturable", "equal arguments, different results")
        elif len(function.examples) >= _MIN_EXAMPLES:
            outcome.funnel.reach("capturable")
            kept.append(function)
        elif function.not_plain:
            where, kind = next(iter(sorted(function.not_plain.items())))
            outcome.drop(function, "capturable", f"{where} not plain", kind)
        else:
            outcome.drop(function, "capturable", "too few different calls", str(len(function.examples)))
    return kept


def _extract(
    outcome: ProjectOutcome, functions: Sequence[TracedFunction], project: Project, config: TraceConfig
) -> list[ExtractedFunction]:
    modules, kept = ProjectModules(project.root, project.import_roots), []
    for function in functions:
        try:
            extracted = extract_function(
                function, modules, max_context_lines=config.max_context_lines, max_body_lines=config.max_body_lines
            )
        except NotExtractedError as error:
            outcome.drop(function, "extractable", error.reason, error.detail)
        else:
            outcome.funnel.reach("extractable")
            kept.append(extracted)
    return kept


def _replay(
    outcome: ProjectOutcome, functions: Sequence[ExtractedFunction], open_pool: OpenPool
) -> list[ExtractedFunction]:
    kept = []
    for function, result in zip(functions, replay_functions(functions, open_pool), strict=True):
        if len(result.examples) < _MIN_EXAMPLES:
            outcome.drop(function.traced, "replayable", _fault_reason(result.fault, "not reproduced"), result.fault)
            continue
        outcome.funnel.reach("replayable")
        function.traced.examples = result.examples
        kept.append(function)
    return kept


def _fault_reason(fault: str, reason: str) -> str:
    """A fault of the sandbox is told apart from one of the function."""
    return "sandbox failed" if fault.startswith("infra:") else reason


def _facts_of(trace: Trace) -> dict[str, Any]:
    return {
        "tests": trace.suite,
        "missing_modules": list(trace.missing_modules),
        "num_malformed_records": trace.num_malformed_records,
        "num_calls": sum(function.num_calls for function in trace.functions),
        "num_pairs": sum(len(function.examples) for function in trace.functions),
        "isolation": trace.isolation,
    }
