"""Many projects: each traced for itself, one bad one never stops the others; the whole is written down.

In: a TraceConfig. Out: OUTPUT/problems.jsonl, dropped.jsonl (function, stage, reason), funnel.json, manifest.json.
Codex paper, section 4.2.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from megatron_codex.config.problems import TraceConfig
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory, require_absent
from megatron_codex.jsonl import write_jsonl
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.ci_project import ProjectOutcome, trace_one_project
from megatron_codex.problems.from_trace import STAGES
from megatron_codex.problems.funnel import Funnel, write_funnel

logger = logging.getLogger(__name__)


def trace_projects(config: TraceConfig) -> list[ProjectOutcome]:
    """Trace every project and write the output directory.

    Raises: InputError, before any work, for a project that does not exist or an output that does; WorkError when this
    machine cannot isolate programs.
    """
    started_at = time.time()
    for path in config.project:
        if not path.exists():
            raise InputError(str(path), rule="no such project", remedy="name an sdist, a wheel or a directory")
    require_absent(config.output)
    outcomes: list[ProjectOutcome] = []
    known: set[str] = set()
    for path in config.project:
        outcome = trace_one_project(path, config)
        drop_duplicates(outcome, known)
        outcomes.append(outcome)
        logger.info("%s: %s", outcome.name or path.name, outcome.reason or outcome.funnel.summary())
    _write_output(config, outcomes, started_at)
    return outcomes


def drop_duplicates(outcome: ProjectOutcome, known: set[str]) -> None:
    """Leave out problems whose program or task_id is in `known`, to which the others are added: vendored copies."""
    kept = []
    for problem in outcome.problems:
        keys = {problem.task_id, problem.prompt + problem.canonical_solution}
        if known.isdisjoint(keys):
            kept.append(problem)
            known |= keys
        else:
            outcome.drop(problem.task_id, "problems", "duplicate")
            outcome.funnel.reach("problems", -1)
    outcome.problems = kept


def _write_output(config: TraceConfig, outcomes: Sequence[ProjectOutcome], started_at: float) -> None:
    total = Funnel.total(STAGES, (outcome.funnel for outcome in outcomes))
    failed = sum(bool(outcome.reason) for outcome in outcomes)
    counts = {"projects": len(outcomes), "projects_failed": failed, **total.counts}
    with atomic_directory(config.output) as directory:
        problems = (problem.to_json() for outcome in outcomes for problem in outcome.problems)
        write_jsonl(directory / "problems.jsonl", problems)
        write_jsonl(directory / "dropped.jsonl", (row for outcome in outcomes for row in outcome.dropped))
        projects = [outcome.to_json() for outcome in outcomes]
        write_funnel(
            directory / "funnel.json",
            {**total.to_json(), "projects": len(outcomes), "projects_failed": failed, "of_projects": projects},
        )
        write_manifest(
            directory,
            command="trace_ci.py",
            config=config,
            inputs=[path for path in config.project if path.is_file()],
            counts=counts,
            started_at=started_at,
        )
