"""Hidden tests revealed by submitting wrong programs to a judge, which shows the first test that each one fails.

In: a problem, a Judge, a journal. Out: the tests that were not known before, and what they cost. Every kind of wrong
program (wrong_programs.py) is used up to its patience; the adaptive one ends the harvest when the judge accepts it:
then its table has every test. Codex paper, section 4.1.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from megatron_codex.config.contests import MineConfig, StrategyName
from megatron_codex.errors import InputError, WorkError
from megatron_codex.files import atomic_file
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.assertions import asserted_examples
from megatron_codex.problems.contests.journal import SubmissionJournal
from megatron_codex.problems.contests.judge_protocol import Judge, SiteVerdict, Submission
from megatron_codex.problems.contests.reference_outcomes import with_outcome
from megatron_codex.problems.contests.values import input_key
from megatron_codex.problems.contests.wrong_programs import wrong_programs
from megatron_codex.problems.example_checks import check_io_example, check_stdio_example
from megatron_codex.records import Problem

_MAX_ATTEMPTS = 3
"""To have a program judged, where the judge itself fails."""


class _Ended(Exception):
    """Nothing more can be submitted for this problem: why."""


@dataclass(kw_only=True)
class Harvest:
    """What was revealed of one problem, and how."""

    known: list[Example]
    """Tests with outcomes: the problem's own first."""
    num_own: int
    revealed_by: Counter[str] = field(default_factory=Counter)
    """Tests that were new, by strategy."""
    submissions: Counter[str] = field(default_factory=Counter)
    """By strategy."""
    num_without_outcome: int = 0
    """Inputs that were shown, but whose outcome nobody told."""
    complete: bool = False
    """The judge accepted a program that knows these tests and nothing else."""
    ended: str = "no new test"

    @property
    def revealed(self) -> list[Example]:
        return self.known[self.num_own :]


class Harvester:
    """Submits for one problem after the other. The journal and the budgets are shared by all."""

    def __init__(self, judge: Judge, journal: SubmissionJournal, config: MineConfig) -> None:
        self._judge, self._journal, self._config = judge, journal, config
        self._revealed_by: Counter[str] = Counter()
        self._num_complete = 0

    def counts(self) -> dict[str, Any]:
        """Of all problems so far: submissions and revealed tests by strategy, and complete harvests."""
        submissions = sum(self._journal.counts.values(), Counter[str]())
        told = {"submissions": dict(submissions), "revealed": dict(self._revealed_by)}
        return {**told, "problems": len(self._journal.counts), "complete": self._num_complete}

    def copy_journal(self, path: Path) -> None:
        """Every submission with its verdict, for the record."""
        with atomic_file(path) as copy:
            copy.write(self._journal.path.read_bytes())

    def harvest(self, problem: Problem, given: Sequence[str] = ()) -> Harvest:
        """given: programs that the set itself has as wrong. Raises: WorkError when the judge does not answer."""
        own = known_tests(problem)
        result = Harvest(known=list(own), num_own=len(own))
        shown = {input_key(example) for example in own}
        try:
            if "." in problem.entry_point:
                raise _Ended("a method: wrong programs are made of functions and scripts only")
            for strategy in self._config.strategies:
                self._use(strategy, problem, given, result, shown)
                if result.complete:
                    break
        except _Ended as why:
            result.ended = str(why)
        result.submissions = Counter(self._journal.counts.get(problem.task_id, Counter()))
        self._revealed_by.update(result.revealed_by)
        self._num_complete += result.complete
        return result

    def _use(
        self, strategy: StrategyName, problem: Problem, given: Sequence[str], result: Harvest, shown: set[str]
    ) -> None:
        fruitless = 0
        # A table that reveals nothing is the same table again.
        patience = 1 if strategy == "adaptive" else self._config.patience
        for source in wrong_programs(strategy, problem, result.known, given):
            verdict = self._submit(strategy, problem.task_id, source)
            if verdict.status == "accepted" and strategy == "adaptive":
                result.complete, result.ended = True, "complete"
                return
            new = verdict.case is not None and input_key(verdict.case) not in shown
            if new and verdict.case is not None:
                shown.add(input_key(verdict.case))
                new = self._learn(strategy, verdict.case, problem, result)
            fruitless = 0 if new else fruitless + 1
            if fruitless >= patience:
                return

    def _learn(self, strategy: str, case: Example, problem: Problem, result: Harvest) -> bool:
        whole: Example | None = case
        if not {"output", "raises"} & set(case):
            whole = with_outcome(case, problem, self._config)
        if whole is None:
            result.num_without_outcome += 1
            return False
        _check(whole, problem, where=f"{self._config.judge}: {problem.task_id}")
        result.known.append(whole)
        result.revealed_by[strategy] += 1
        return True

    def _submit(self, strategy: str, task_id: str, source: str) -> SiteVerdict:
        digest = sha256(source.encode(errors="surrogatepass")).hexdigest()
        key = self._journal.keys.get((task_id, digest))
        if key is not None and key in self._journal.verdicts:
            return self._journal.verdicts[key]
        for _ in range(_MAX_ATTEMPTS):
            if key is None:
                self._check_budget(task_id)
                key = uuid.uuid4().hex
                self._journal.sending(task_id, strategy, key, digest)
            verdict = self._judge.submit(Submission(task_id=task_id, source=source, key=key))
            if verdict.status != "not judged":
                break
            key = None  # under the same key it would be the same verdict
        if key is not None:
            self._journal.answered(key, verdict)
        if verdict.status == "unknown problem":
            raise _Ended("not at this judge")
        return verdict

    def _check_budget(self, task_id: str) -> None:
        if self._journal.num_submissions >= self._config.budget:
            raise _Ended("budget used up")
        if self._journal.counts.get(task_id, Counter()).total() >= self._config.budget_per_problem:
            raise _Ended("budget of a problem used up")


def _check(example: Example, problem: Problem, *, where: str) -> None:
    """Raises: WorkError for a test that could not be judged here."""
    try:
        if problem.entry_point:
            check_io_example(example, where=where)
        else:
            check_stdio_example(example, where=where, has_checker=bool(problem.checker.strip()))
    except InputError as error:
        raise WorkError(f"the judge shows what is no test: {error}") from error


def known_tests(problem: Problem) -> tuple[Example, ...]:
    """A problem's own tests as inputs and outcomes; of its `test` where it has no others."""
    return problem.io_examples or problem.stdio_examples or asserted_examples(problem.test, problem.entry_point)
