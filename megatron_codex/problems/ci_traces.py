"""Many projects: each traced for itself, one bad one never stops the others; the whole is written down.

In: a TraceConfig. Out: OUTPUT/problems.jsonl, dropped.jsonl (function, stage, reason), funnel.json, funnel.svg,
manifest.json. OUTPUT.partial holds the outcomes of a run that has not ended. The records' bytes depend on the projects
and the settings, not on how many are traced at a time.
Codex paper, section 4.2.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from megatron_codex.config.problems import TraceConfig
from megatron_codex.corpus.execution import executor
from megatron_codex.errors import InputError
from megatron_codex.files import atomic_directory, atomic_file
from megatron_codex.jsonl import write_jsonl
from megatron_codex.manifest import write_manifest
from megatron_codex.problems.bodies import body_key
from megatron_codex.problems.ci_project import ProjectOutcome
from megatron_codex.problems.from_trace import STAGES
from megatron_codex.problems.funnel import Funnel, write_funnel
from megatron_codex.problems.funnel_figure import funnel_figure
from megatron_codex.problems.project_tasks import ProjectTask, do_task, make_tasks, read_outcome
from megatron_codex.problems.projects.interpreter import find_interpreter
from megatron_codex.problems.projects.pip_command import require_pip
from megatron_codex.problems.projects.sources import ProjectSource, find_sources
from megatron_codex.unfinished import partial_path, unfinished_work


def trace_projects(config: TraceConfig) -> list[ProjectOutcome] | None:
    """Trace every project and write the output directory; what an earlier run of the same began is not done again.

    None: on MPI ranks but the first, which work for it. Raises: InputError, before any work, for a project, an
    interpreter or a directory of wheels that does not exist, or an output that does; WorkError when this machine cannot
    isolate programs.
    """
    started_at = time.time()
    with executor(config.execution, folder=partial_path(config.output) / "slurm") as run:
        if run is None:
            return None
        sources = find_sources(config.project)
        _require_tools(config)
        fingerprint = {"command": "trace_ci"}  # each outcome is named by what it was made of
        with unfinished_work(
            config.output, fingerprint=fingerprint, outputs=(config.output,), keep_on_bad_input=True
        ) as work:
            tasks = make_tasks(sources, config, work.directory)
            run(partial(do_task, config=config), tasks, done=ProjectTask.is_done, description="projects")
            outcomes = [read_outcome(task) for task in tasks]
            known: set[str] = set()
            for outcome in outcomes:
                drop_duplicates(outcome, known)
            _write_output(config, sources, outcomes, started_at)
    return outcomes


def _require_tools(config: TraceConfig) -> None:
    find_interpreter(config.python)
    for folder in config.wheels:
        if not folder.is_dir():
            raise InputError(str(folder), rule="no such directory (of wheels)", remedy="check the path")
    if config.install:
        require_pip()


def drop_duplicates(outcome: ProjectOutcome, known: set[str]) -> None:
    """Leave out problems whose body or task_id is in `known`, to which the others are added: vendored copies."""
    kept = []
    for problem in outcome.problems:
        keys = {problem.task_id, body_key(problem)}
        if known.isdisjoint(keys):
            kept.append(problem)
            known |= keys
        else:
            outcome.drop(problem.task_id, "problems", "duplicate by body")
            outcome.funnel.reach("problems", -1)
    outcome.problems = kept


def _write_output(
    config: TraceConfig, sources: Sequence[ProjectSource], outcomes: Sequence[ProjectOutcome], started_at: float
) -> None:
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
        with atomic_file(directory / "funnel.svg", "w") as handle:
            dropped = total.to_json()["dropped"]
            handle.write(funnel_figure(total.counts, dropped, title=f"Functions of {len(outcomes)} projects"))
        write_manifest(
            directory,
            command="trace_ci.py",
            config=config,
            inputs=[source.path for source in sources if source.path is not None and source.path.is_file()],
            counts=counts,
            started_at=started_at,
        )
