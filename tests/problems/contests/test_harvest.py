"""Hidden tests are revealed, at a count of submissions that is kept, through kills, budgets and sparing judges."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.errors import InputError
from megatron_codex.problems.contests.harvest import Harvest, Harvester
from megatron_codex.problems.contests.journal import SubmissionJournal
from megatron_codex.problems.contests.judge_protocol import Judge, SiteVerdict, Submission
from megatron_codex.problems.contests.site_client import HttpJudge
from megatron_codex.problems.contests.site_server import ContestServer
from megatron_codex.problems.contests.table_program import WRONG, table_program
from megatron_codex.problems.contests.values import input_key
from megatron_codex.problems.contests.with_revealed import with_revealed
from megatron_codex.records import Problem
from megatron_codex.tagged import encode
from tests.problems.contests.contest import CALLS, PAIRS, function_problem, mine_config, script_problem, site_config
from tests.problems.contests.contest import with_first_test as first
from tests.problems.contests.harvest_mbpp import harvest_all, num_hidden
from tests.problems.contests.held_tests import held_and_known


@pytest.fixture(scope="module")
def server(isolation: None) -> Iterator[ContestServer]:
    with ContestServer([function_problem(), script_problem()], site_config()) as server:
        yield server


def _harvest(judge: Judge, problem: Problem, folder: Path, **config: Any) -> Harvest:
    given = config.pop("given", ())
    with SubmissionJournal(folder / "journal.jsonl") as journal:
        return Harvester(judge, journal, mine_config(folder, judge="http://x:1", **config)).harvest(problem, given)


def test_all_hidden_tests_of_mbpp_shaped_problems_are_revealed(isolation: None, tmp_path: Path) -> None:
    held, known = held_and_known(5, max_tests=7)
    hidden = num_hidden(held, known)
    assert hidden > 25
    harvests, submissions = harvest_all(held, known, ("adaptive",), tmp_path)
    for harvest, problem in zip(harvests, held, strict=True):
        assert {input_key(test) for test in harvest.known} == {input_key(test) for test in problem.io_examples}
        assert harvest.complete
    # One submission for each hidden test, and one of each problem that is accepted in the end.
    assert submissions == hidden + len(held) == sum(harvest.submissions.total() for harvest in harvests)


@pytest.mark.parametrize("kind", ["function", "script"])
def test_the_table_reveals_one_test_a_submission(server: ContestServer, tmp_path: Path, kind: str) -> None:
    problem = function_problem() if kind == "function" else script_problem()
    harvest = _harvest(HttpJudge(server.url), first(problem), tmp_path)
    assert harvest.known == (CALLS if kind == "function" else PAIRS)
    assert harvest.submissions == {"adaptive": len(harvest.known)}
    assert (harvest.complete, harvest.ended) == (True, "complete")
    assert harvest.revealed_by == {"adaptive": len(harvest.known) - 1}


@pytest.mark.parametrize(
    ("strategies", "given", "least"),
    [
        (("mutants",), (), 1),
        (("templates",), (), 1),
        (("constants",), (), 1),
        (("known_wrong",), ("def double(x):\n    return 2 * x\n",), 1),
        (("constants", "known_wrong", "adaptive"), (), 6),
    ],
    ids=["mutants", "templates", "constants", "known_wrong", "several"],
)
def test_other_wrong_programs_reveal_some(
    server: ContestServer, tmp_path: Path, strategies: tuple[str, ...], given: tuple[str, ...], least: int
) -> None:
    # Nothing is known: the first test is revealed by what fails it, others by what passes it.
    problem = dataclasses.replace(function_problem(), test="", io_examples=())
    harvest = _harvest(HttpJudge(server.url), problem, tmp_path, strategies=strategies, given=given, patience=50)
    assert len(harvest.revealed) >= least
    assert all(test in CALLS for test in harvest.revealed)
    assert set(harvest.submissions) <= set(strategies)
    assert harvest.complete == ("adaptive" in strategies)


class _Killed(Exception):
    pass


class _Fragile:
    """A judge whose client is killed at one submission: before it was sent, or before its answer was written."""

    def __init__(self, judge: Judge, at: int, *, sent: bool) -> None:
        self._judge, self._left, self._sent = judge, at, sent

    def submit(self, submission: Submission) -> SiteVerdict:
        self._left -= 1
        if self._left == 0 and not self._sent:
            raise _Killed
        verdict = self._judge.submit(submission)
        if self._left == 0:
            raise _Killed
        return verdict


@pytest.mark.parametrize("sent", [False, True], ids=["before it was sent", "before its answer came"])
def test_a_killed_harvest_goes_on_and_submits_nothing_twice(server: ContestServer, tmp_path: Path, sent: bool) -> None:
    problem, judge = first(function_problem()), HttpJudge(server.url)
    before = server.site.num_submissions
    with pytest.raises(_Killed):
        _harvest(_Fragile(judge, 3, sent=sent), problem, tmp_path)
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"task_id": "torn')
    harvest = _harvest(judge, problem, tmp_path)
    assert harvest.known == CALLS and harvest.complete
    assert server.site.num_submissions - before == len(CALLS) == harvest.submissions.total()
    rows = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert sum("verdict" in row for row in rows) == len(CALLS)


def test_a_journal_that_is_broken_in_the_middle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"key": "k"}\n{}\n')
    with pytest.raises(InputError, match=r"journal\.jsonl:1: is broken"):
        SubmissionJournal(tmp_path / "journal.jsonl")


@pytest.mark.parametrize(
    ("config", "ended"),
    [({"budget": 2}, "budget used up"), ({"budget_per_problem": 2}, "budget of a problem used up")],
    ids=["all", "one problem"],
)
def test_budgets_are_kept(server: ContestServer, tmp_path: Path, config: dict[str, int], ended: str) -> None:
    before = server.site.num_submissions
    harvest = _harvest(HttpJudge(server.url), first(function_problem()), tmp_path, **config)
    assert server.site.num_submissions - before == 2
    assert (harvest.known, harvest.complete, harvest.ended) == (CALLS[:3], False, ended)


def test_the_reference_says_what_a_judge_does_not(isolation: None, tmp_path: Path) -> None:
    held = [test for test in CALLS if "output" in test and not test["kwargs"]]
    problem = first(function_problem())
    with ContestServer(
        [Problem.from_json({**function_problem().to_json(), "io_examples": held})], site_config(shows=("input",))
    ) as server:
        harvest = _harvest(HttpJudge(server.url), problem, tmp_path, strategies=("adaptive",))
    assert [(test["args"], test["output"]) for test in harvest.known] == [
        (test["args"], test["output"]) for test in held
    ]
    assert harvest.complete
    assert harvest.num_without_outcome == 0


def test_what_nobody_tells_is_counted(isolation: None, tmp_path: Path) -> None:
    with ContestServer([script_problem()], site_config(shows=("input",))) as server:
        harvest = _harvest(HttpJudge(server.url), first(script_problem()), tmp_path, strategies=("adaptive",))
    assert (harvest.revealed, harvest.num_without_outcome, harvest.complete) == ([], 1, False)


class _Unable:
    """A judge whose own machine fails."""

    def __init__(self, times: int, judge: Judge) -> None:
        self._left, self._judge = times, judge

    def submit(self, submission: Submission) -> SiteVerdict:
        self._left -= 1
        return SiteVerdict(status="not judged") if self._left >= 0 else self._judge.submit(submission)


def test_a_judge_that_fails_is_asked_again(server: ContestServer, tmp_path: Path) -> None:
    harvest = _harvest(_Unable(2, HttpJudge(server.url)), first(function_problem()), tmp_path)
    assert harvest.complete and harvest.submissions.total() == len(CALLS) + 2


def test_a_problem_that_the_judge_lacks_is_named(server: ContestServer, tmp_path: Path) -> None:
    problem = Problem.from_json({**first(function_problem()).to_json(), "task_id": "t/none"})
    harvest = _harvest(HttpJudge(server.url), problem, tmp_path)
    assert (harvest.ended, harvest.submissions.total(), harvest.revealed) == ("not at this judge", 1, [])


def test_methods_are_left_alone(server: ContestServer, tmp_path: Path) -> None:
    method = dataclasses.replace(first(function_problem()), entry_point="A.double")
    harvest = _harvest(HttpJudge(server.url), method, tmp_path)
    assert harvest.ended.startswith("a method") and not harvest.submissions


def test_tables_tell_types_and_order_apart() -> None:
    answers = [({1, 2}, "set"), ([1, 2], "list"), ((1, 2), "tuple"), (True, "bool"), (1.0, "float"), ({1: 2}, "dict")]
    examples = [{"args": [_form(value)], "kwargs": {}, "output": name} for value, name in answers]
    names: dict[str, Any] = {}
    exec(table_program("f", examples), names)
    assert [names["f"](value) for value, _ in answers] == [name for _, name in answers]
    assert names["f"](1) == names["f"]([2, 1]) == names["f"](x=[1, 2]) == WRONG


def _form(value: Any) -> Any:
    return encode(value)


def test_revealed_tests_are_added() -> None:
    problem = first(function_problem())
    harvest = Harvest(known=list(CALLS), num_own=1, complete=True, ended="complete")
    harvest.submissions["adaptive"] = 6
    whole = with_revealed(problem, harvest)
    assert list(whole.io_examples) == CALLS and whole.test.count("assert ") == 5
    assert whole.provenance["harvest"]["revealed"] == 5 and whole.provenance["harvest"]["complete"]
    other = Problem.from_json({**problem.to_json(), "io_examples": [], "test": "def check(c):\n    assert c(1) == 2\n"})
    assert with_revealed(other, harvest).test == other.test
