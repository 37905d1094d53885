"""One project, from its archive to its problems: trace, extract, replay, build; what falls out is counted.

In: a ProjectSource and a TraceConfig. Out: a ProjectOutcome. Codex paper, sections 4.2 and 4.3.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_codex.config.problems import TraceConfig
from megatron_codex.errors import InputError, WorkError
from megatron_codex.problems.from_trace import STAGES, make_problems
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.project import BrokenProjectError, Project
from megatron_codex.problems.projects.prepare import fetch_project, plainer_suite, prepare_suite
from megatron_codex.problems.projects.sources import ProjectSource
from megatron_codex.problems.projects.suite import Suite
from megatron_codex.problems.traces import Trace, TracedFunction, trace_project
from megatron_codex.records import Problem

logger = logging.getLogger(__name__)


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


def trace_one_project(source: ProjectSource, config: TraceConfig, workspace: Path) -> ProjectOutcome:
    """One project, from its archive to its problems; its own faults become the outcome's reason.

    workspace: an empty directory of ours. Raises: WorkError when this machine cannot isolate programs.
    """
    outcome, started = ProjectOutcome(path=source.path or Path(source.requirement)), time.monotonic()
    try:
        project = fetch_project(source, workspace, config)
        outcome.name = project.name
        outcome.facts = {"sha256": project.sha256, "licence": project.metadata.licence}
        trace = _trace(outcome, project, workspace, config)
        outcome.facts |= _facts_of(trace)
        make_problems(outcome, project, trace, config)
    except BrokenProjectError as error:
        outcome.reason, outcome.detail = error.reason, error.detail
    except (InputError, WorkError):
        raise
    except Exception as error:
        # A fault of ours that one project met: the others are no worse for it.
        logger.exception("%s", outcome.name or source.label)
        outcome.reason, outcome.detail = "fault of megatron_codex", f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - started
    return outcome


def _trace(outcome: ProjectOutcome, project: Project, workspace: Path, config: TraceConfig) -> Trace:
    """By the project's own command; where no test passes in that, by the tests that are found."""
    suite, facts = prepare_suite(project, workspace, config)
    outcome.facts |= facts
    try:
        return _run_suite(project, suite, workspace / "trace", config)
    except BrokenProjectError as error:
        plainer = plainer_suite(project, suite)
        if error.reason not in ("no test passes", "tests end early") or plainer is None:
            raise
        before = {**suite.command.to_json(), "reason": f"{error.reason}: {error.detail}"}
        trace = _run_suite(project, plainer, workspace / "trace_again", config)
        outcome.facts["runner"] = {**plainer.command.to_json(), "tried_before": before}
        return trace


def _run_suite(project: Project, suite: Suite, workspace: Path, config: TraceConfig) -> Trace:
    workspace.mkdir()
    return trace_project(
        project,
        suite,
        workspace,
        num_samples=config.num_samples,
        timeout_s=config.timeout_s,
        memory_bytes=config.memory_bytes,
        libraries=config.libraries,
        builtins=config.builtins,
    )


def _facts_of(trace: Trace) -> dict[str, Any]:
    return {
        "tests": trace.suite,
        "missing_modules": list(trace.missing_modules),
        "num_malformed_records": trace.num_malformed_records,
        "num_calls": sum(function.num_calls for function in trace.functions),
        "engine": trace.engine,
        "num_pairs": sum(len(function.examples) for function in trace.functions),
        "isolation": trace.isolation,
    }
