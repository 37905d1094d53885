"""Candidates sorted into what is accepted, what has no reference, and what is dropped, each with its reason.

In: batches of Candidates. Out: rows of the output files, and the funnel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import megatron_codex
from megatron_codex.problems.contests.acceptance import accept, passes
from megatron_codex.problems.contests.candidate import STAGES, Candidate
from megatron_codex.problems.contests.harvest import Harvest, Harvester
from megatron_codex.problems.contests.values import test_source
from megatron_codex.problems.contests.with_revealed import with_revealed
from megatron_codex.problems.examples import num_outcomes
from megatron_codex.problems.funnel import Funnel
from megatron_codex.records import Problem, Verdict, prompt_sha256
from megatron_codex.sandbox.pool import JudgePool

CREATED_BY = f"mine_contests.py {megatron_codex.__version__}"
NO_REFERENCE = "no reference: in without_reference.jsonl"

Write = Callable[[str, dict[str, Any]], None]
"""Takes the name of an output file and a row of it."""


class Sorter:
    """Keeps what tells duplicates, and the funnel."""

    def __init__(self, pool: JudgePool, write: Write, *, min_outcomes: int, harvester: Harvester | None) -> None:
        self.funnel = Funnel(STAGES)
        self._pool, self._write = pool, write
        self._min_outcomes, self._harvester = min_outcomes, harvester
        self._task_ids: set[str] = set()
        self._programs: set[str] = set()

    def sort(self, batch: Sequence[Candidate]) -> None:
        """Judge the references of a batch and write its rows, in order."""
        open_ones = [each for each in batch if each.readings and each.readings[0].canonical_solution.strip()]
        outcomes = dict(zip(map(id, open_ones), accept(open_ones, self._pool), strict=True))
        for candidate in batch:
            if candidate.reason:
                self._drop(candidate.task_id, candidate.stage, candidate.reason, candidate.detail)
            elif candidate.task_id in self._task_ids:
                self._drop(candidate.task_id, "usable", "a task_id that was there already")
            else:
                self._task_ids.add(candidate.task_id)
                self._settle(candidate, outcomes.get(id(candidate), candidate.readings[0]))

    def _settle(self, candidate: Candidate, outcome: Problem | Verdict) -> None:
        if isinstance(outcome, Verdict):
            self._drop(candidate.task_id, "accepted", f"the reference fails: {outcome.verdict}", outcome.detail)
            return
        problem, harvest = self._with_hidden_tests(outcome, candidate)
        has_reference = bool(problem.canonical_solution.strip())
        if _outcomes(problem) < self._min_outcomes:
            self._drop(candidate.task_id, "tested", "too few outcomes", f"{_outcomes(problem)} among its tests")
            return
        if has_reference and harvest is not None and harvest.revealed:
            verdict = passes(problem, self._pool)
            if not verdict.passed:
                reason = f"the reference fails revealed tests: {verdict.verdict}"
                self._drop(candidate.task_id, "accepted", reason, verdict.detail)
                return
        digest = prompt_sha256(problem.prompt + problem.canonical_solution)
        if digest in self._programs:
            self._drop(candidate.task_id, "accepted" if has_reference else "referenced", "duplicate")
            return
        self._programs.add(digest)
        problem = dataclasses.replace(problem, created_by=CREATED_BY)
        if has_reference:
            self._reach(STAGES)
            self._write("problems", problem.to_json())
        else:
            self._write("without_reference", problem.to_json())
            self._drop(candidate.task_id, "referenced", NO_REFERENCE)

    def _with_hidden_tests(self, problem: Problem, candidate: Candidate) -> tuple[Problem, Harvest | None]:
        if self._harvester is None:
            return problem, None
        harvest = self._harvester.harvest(problem, candidate.wrong_programs)
        row = {"task_id": problem.task_id, "own_tests": harvest.num_own, "revealed": len(harvest.revealed)}
        row |= {"revealed_by": dict(harvest.revealed_by), "submissions": dict(harvest.submissions)}
        row |= {"without_outcome": harvest.num_without_outcome, "complete": harvest.complete, "ended": harvest.ended}
        self._write("harvest", row)
        return with_revealed(problem, harvest), harvest

    def _drop(self, task_id: str, stage: str, reason: str, detail: str = "") -> None:
        self._reach(STAGES[: STAGES.index(stage)])
        self.funnel.drop(stage, reason)
        self._write("dropped", {"task_id": task_id, "stage": stage, "reason": reason, "detail": detail})

    def _reach(self, stages: Sequence[str]) -> None:
        for stage in stages:
            self.funnel.reach(stage)


def _outcomes(problem: Problem) -> float:
    """Different outcomes of a problem's tests; a `test` that no examples stand for may have any number."""
    examples = problem.io_examples or problem.stdio_examples
    if problem.test.strip() and problem.test != test_source(problem.io_examples):
        return float("inf")
    return num_outcomes(examples)
