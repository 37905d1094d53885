"""A results file as the report needs it: counts of each problem, groups of problems, and samples to show."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from megatron_codex.config.report import EvaluationPart
from megatron_codex.errors import InputError
from megatron_codex.evaluation.pass_at_k import Estimate, TaskCount, default_ks, estimate_pass_at_k
from megatron_codex.jsonl import read_jsonl
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Results:
    """One model's judged samples."""

    label: str
    counts: dict[str, TaskCount]
    """By task; samples whose verdict is `infra` are in none."""
    verdicts: Counter[str]
    groups: dict[str, list[str]]
    """Group -> tasks, "all" first."""
    k: tuple[int, ...]
    rows: list[dict[str, Any]]
    """The first of each (task, verdict), to choose shown samples from."""
    problems: dict[str, Problem]
    """Empty where no problems file was given."""
    _estimates: dict[tuple[int, str], Estimate] = field(default_factory=dict, compare=False, repr=False)

    def pass_at_k(self, k: int, group: str = ALL) -> Estimate:
        """Of a group's tasks, with its interval; resampled once, however many sections ask."""
        if (k, group) not in self._estimates:
            counts = {task: self.counts[task] for task in self.groups[group]}
            self._estimates[k, group] = estimate_pass_at_k(counts, k)
        return self._estimates[k, group]


def read_results(part: EvaluationPart) -> Results:
    """Read part.path. Raises: InputError for rows without verdict, tasks missing in the problems file, or no row."""
    judged: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for number, row in enumerate(read_jsonl(part.path), 1):
        if not isinstance(row.get("verdict"), str) or not isinstance(row.get("task_id"), str):
            remedy = "judge the samples first: tools/evaluate.py"
            raise InputError(f"{part.path}: row {number}", rule="has no verdict or task_id", remedy=remedy)
        task, verdict = row["task_id"], row["verdict"]
        verdicts[verdict] += 1
        first.setdefault((task, verdict), row)
        if verdict != "infra":
            judged[task] += 1
            passed[task] += verdict == "passed"
    if not judged:
        raise InputError(str(part.path), rule="holds no judged sample", remedy="judge the samples: tools/evaluate.py")
    counts = {task: TaskCount(num_samples=judged[task], num_correct=passed[task]) for task in judged}
    problems = {problem.task_id: problem for problem in read_problems(part.problems)} if part.problems else {}
    return Results(
        label=part.label,
        counts=counts,
        verdicts=verdicts,
        groups={ALL: list(counts), **_groups(part, list(counts), problems)},
        k=part.k or default_ks(counts),
        rows=list(first.values()),
        problems=problems,
    )


def choose_samples(results: Results, number: int) -> list[dict[str, Any]]:
    """Samples to show: in turn from each verdict, each from another task where that is possible."""
    by_verdict: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in results.rows:
        by_verdict[row["verdict"]].append(row)
    chosen: list[dict[str, Any]] = []
    while len(chosen) < number and any(by_verdict.values()):
        for rows in by_verdict.values():
            if rows and len(chosen) < number:
                used = {row["task_id"] for row in chosen}
                fresh = next((place for place, row in enumerate(rows) if row["task_id"] not in used), 0)
                chosen.append(rows.pop(fresh))
    return chosen


def _groups(part: EvaluationPart, tasks: list[str], problems: dict[str, Problem]) -> dict[str, list[str]]:
    if not part.group_by:
        return {}
    groups: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        if task not in problems:
            remedy = "give the problems file that was sampled"
            raise InputError(f"{part.problems}", value=task, rule="this task of the results is missing", remedy=remedy)
        value = problems[task].provenance.get(part.group_by)
        groups[f"{part.group_by.replace('_', ' ')} {'unknown' if value is None else value}"].append(task)
    return {name: groups[name] for name in natural_order(groups)}


def natural_order(names: Iterable[str]) -> list[str]:
    """Names sorted with their numbers read as numbers: length 2 before length 10."""
    return sorted(
        names, key=lambda name: [part.zfill(20) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    )
