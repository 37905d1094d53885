"""One project of many as a task of an executor: what it is made of names the file that its outcome is kept in.

In: sources and settings. Out: OUTPUT.partial/projects/KEY.json for each project that is done. A run that goes on does
no project again whose file is there; a project that was changed meanwhile has another key.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import megatron_codex
from megatron_codex.config.load import config_to_dict
from megatron_codex.config.problems import TraceConfig
from megatron_codex.files import atomic_file, sha256_file
from megatron_codex.problems.ci_project import ProjectOutcome, trace_one_project
from megatron_codex.problems.from_trace import STAGES
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.projects.sources import ProjectSource
from megatron_codex.records import Problem

_NOT_OF_THE_RESULT = ("project", "output", "execution", "workers", "cache")
_MAX_TRIES = 3
"""Worker processes that may die of one project."""


@dataclass(frozen=True, kw_only=True)
class ProjectTask:
    """folder: OUTPUT.partial."""

    source: ProjectSource
    folder: Path
    key: str

    @property
    def output(self) -> Path:
        return self.folder / "projects" / f"{self.key}.json"

    @property
    def tries(self) -> Path:
        """Has a byte for each worker that began it in this run."""
        return self.folder / "tries" / self.key

    def is_done(self) -> bool:
        """Whether its outcome is there, whole."""
        return self.output.exists()


def make_tasks(sources: Sequence[ProjectSource], config: TraceConfig, folder: Path) -> list[ProjectTask]:
    """One a source, in order."""
    shutil.rmtree(folder / "tries", ignore_errors=True)
    shutil.rmtree(folder / "work", ignore_errors=True)
    settings = {key: value for key, value in config_to_dict(config).items() if key not in _NOT_OF_THE_RESULT}
    common = [megatron_codex.__version__, settings]
    return [
        ProjectTask(source=source, folder=folder, key=_digest([*common, source.label, _identity(source)]))
        for source in sources
    ]


def do_task(task: ProjectTask, config: TraceConfig) -> None:
    """Trace one project and keep its outcome. Raises: WorkError when this machine cannot isolate programs."""
    task.tries.parent.mkdir(parents=True, exist_ok=True)
    with task.tries.open("a") as handle:
        handle.write("x")
    if task.tries.stat().st_size > _MAX_TRIES:
        outcome = ProjectOutcome(path=task.source.path or Path(task.source.requirement), reason="worker died")
        outcome.detail = f"{_MAX_TRIES} processes died of it: killed, or out of memory"
    else:
        workspace = task.folder.absolute() / "work" / task.key
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.mkdir(parents=True)
        try:
            outcome = trace_one_project(task.source, config, workspace)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
    with atomic_file(task.output, "w") as handle:
        json.dump(_to_json(outcome), handle)


def read_outcome(task: ProjectTask) -> ProjectOutcome:
    """What do_task kept."""
    content = json.loads(task.output.read_text(encoding="utf-8"))
    funnel = Funnel(STAGES)
    funnel.counts = content["funnel"]["counts"]
    for stage, reasons in content["funnel"]["dropped"].items():
        funnel.reasons[stage] = Counter(reasons)
    problems = [Problem.from_json(problem) for problem in content["problems"]]
    return ProjectOutcome(**{**content, "path": Path(content["path"]), "funnel": funnel, "problems": problems})


def _to_json(outcome: ProjectOutcome) -> dict[str, Any]:
    content = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    problems = [problem.to_json() for problem in outcome.problems]
    return {**content, "path": str(outcome.path), "funnel": outcome.funnel.to_json(), "problems": problems}


def _identity(source: ProjectSource) -> Any:
    """What changes with a project's content: of a file its hash, of a directory names, sizes and times of its files."""
    if source.path is None:
        return None
    if source.path.is_file():
        return sha256_file(source.path)
    rows = []
    for directory, subdirectories, names in os.walk(source.path):
        subdirectories.sort()
        for path in (Path(directory, name) for name in sorted(names)):
            status = path.lstat()
            rows.append([path.relative_to(source.path).as_posix(), status.st_size, status.st_mtime_ns])
    return _digest(rows)


def _digest(content: Any) -> str:
    text = json.dumps(content, default=str, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
