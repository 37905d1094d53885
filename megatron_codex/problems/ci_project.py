"""One project, from its archive to its problems: trace, extract, replay, build; what falls out is counted.

In: a path and a TraceConfig. Out: a ProjectOutcome. Codex paper, sections 4.2 and 4.3.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems.from_trace import STAGES, make_problems
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.project import BrokenProjectError, open_project
from megatron_codex.problems.traces import Trace, TracedFunction, trace_project
from megatron_codex.records import Problem


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
            make_problems(outcome, project, trace, config)
        except BrokenProjectError as error:
            outcome.reason, outcome.detail = error.reason, error.detail
    outcome.seconds = time.monotonic() - started
    return outcome


def _facts_of(trace: Trace) -> dict[str, Any]:
    return {
        "tests": trace.suite,
        "missing_modules": list(trace.missing_modules),
        "num_malformed_records": trace.num_malformed_records,
        "num_calls": sum(function.num_calls for function in trace.functions),
        "num_pairs": sum(len(function.examples) for function in trace.functions),
        "isolation": trace.isolation,
    }
