"""mine_contests.py from end to end: what is accepted, what is dropped and why, exit codes, and a harvest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.command_line import parse_command
from megatron_codex.config.contests import MineConfig
from megatron_codex.errors import InputError
from megatron_codex.problems.contests.mine import mine_contests
from megatron_codex.problems.contests.site_server import ContestServer
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from tests.problems.contests.contest import CALLS, function_problem, mine_config, site_config, with_first_test
from tests.problems.contests.test_adapters import APPS_FUNCTION, APPS_SCRIPT, CANONICAL, CODE_CONTESTS, LEETCODE
from tests.problems.test_readers import MBPP

ROOT = Path(__file__).parents[3]
WRONG_SOLUTION = {**CODE_CONTESTS, "name": "wrong", "solutions": {"language": [3], "solution": ["print(3)\n"]}}
ONE_OUTCOME = {
    **APPS_FUNCTION,
    "problem_id": 9,
    "question": "?",
    "input_output": '{"fn_name": "double", "inputs": [[1]], "outputs": [2]}',
}
ROWS = [APPS_SCRIPT, APPS_FUNCTION, CODE_CONTESTS, LEETCODE, MBPP, {"a": 1}, WRONG_SOLUTION, ONE_OUTCOME]
ROWS += [{**APPS_SCRIPT, "problem_id": 10}, APPS_SCRIPT]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, isolation: None) -> tuple[Path, Funnel]:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "exercism" / "say-it").mkdir(parents=True)
    (folder / "exercism" / "say-it" / "canonical-data.json").write_text(json.dumps(CANONICAL))
    config = mine_config(folder, input=(folder / "rows.jsonl", folder / "exercism"))
    return config.output, mine_contests(config)


def test_every_accepted_reference_passes_its_own_tests(mined: tuple[Path, Funnel]) -> None:
    problems = read_problems(mined[0] / "problems.jsonl")
    # The one example of LeetCode's row has one outcome.
    assert {each.task_id for each in problems} == {"APPS/7", "APPS/8", "CodeContests/1_A. Sum", "MBPP/7"}
    with JudgePool(1) as pool:
        verdicts = dict(pool.judge(Program.of(each, each.canonical_solution) for each in problems))
    assert all(verdict.passed for verdict in verdicts.values()) and len(verdicts) == 4
    by_id = {each.task_id: each for each in problems}
    # The last one stands in the statement.
    assert [example["output"] for example in by_id["APPS/8"].io_examples] == [2, 4, 8]
    assert len(by_id["APPS/7"].stdio_examples) == 3
    assert all(each.created_by.startswith("mine_contests.py ") for each in problems)


def test_everything_else_is_dropped_with_a_reason(mined: tuple[Path, Funnel]) -> None:
    dropped = [(row["task_id"], row["stage"], row["reason"]) for row in _rows(mined[0] / "dropped.jsonl")]
    assert dropped == [
        ("LeetCode/two-sum", "tested", "too few outcomes"),
        ("faulty/6", "usable", "faulty"),
        ("CodeContests/wrong", "accepted", "the reference fails: wrong"),
        ("APPS/9", "tested", "too few outcomes"),
        ("APPS/10", "accepted", "duplicate"),
        ("APPS/7", "usable", "a task_id that was there already"),
        ("Exercism/say-it/say_it", "referenced", "no reference: in without_reference.jsonl"),
        ("Exercism/say-it/sum", "tested", "too few outcomes"),
        ("Exercism/say-it/keep", "usable", "a function as an argument"),
        ("Exercism/say-it/run", "usable", "operations on an object"),
    ]
    (unsolved,) = read_problems(mined[0] / "without_reference.jsonl")
    assert unsolved.task_id == "Exercism/say-it/say_it" and not unsolved.canonical_solution


def test_the_funnel_adds_up(mined: tuple[Path, Funnel]) -> None:
    output, funnel = mined
    assert funnel.counts == {"found": 14, "usable": 10, "tested": 7, "referenced": 6, "accepted": 4}
    assert json.loads((output / "funnel.json").read_text())["counts"] == funnel.counts
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["counts"] == {**funnel.counts, "without_reference": 1}
    assert [Path(path).name for path in manifest["inputs"]] == ["rows.jsonl"]


def test_references_may_be_given(isolation: None, tmp_path: Path) -> None:
    (tmp_path / "say-it").mkdir()
    (tmp_path / "say-it" / "canonical-data.json").write_text(json.dumps(CANONICAL))
    solution = "def say_it(max_depth, list_=None):\n    if max_depth > 1:\n        raise ValueError\n    return 'a'\n"
    references = [("Exercism/say-it/say_it", solution), ("Exercism/other", "x = 1")]
    (tmp_path / "r.jsonl").write_text(
        "".join(json.dumps({"task_id": task_id, "solution": source}) + "\n" for task_id, source in references)
    )
    config = mine_config(tmp_path, input=(tmp_path / "say-it",), references=tmp_path / "r.jsonl")
    assert mine_contests(config).counts["accepted"] == 1
    (problem,) = read_problems(config.output / "problems.jsonl")
    assert problem.canonical_solution.startswith("    if max_depth > 1:")
    assert problem.provenance["reference"] == "given beside the set"
    manifest = json.loads((config.output / "manifest.json").read_text())
    assert manifest["counts"]["references_unused"] == 1


def test_a_harvest_is_part_of_it(isolation: None, tmp_path: Path) -> None:
    known = with_first_test(function_problem())
    other = Problem.from_json({**known.to_json(), "task_id": "t/none", "prompt": known.prompt + "    # Other.\n"})
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each.to_json()) + "\n" for each in (known, other)))
    wrong = {"args": [7], "kwargs": {}, "output": 15}
    contradicted = Problem.from_json(
        {**function_problem().to_json(), "task_id": "t/wrong", "io_examples": [CALLS[0], wrong]}
    )
    with (tmp_path / "p.jsonl").open("a") as handle:
        row = {**known.to_json(), "task_id": "t/wrong"}
        handle.write(json.dumps(row) + "\n")
    with ContestServer([function_problem(), contradicted], site_config()) as server:
        config = mine_config(tmp_path, input=(tmp_path / "p.jsonl",), judge=server.url, strategies=("adaptive",))
        mine_contests(config)
        (problem,) = read_problems(config.output / "problems.jsonl")
        counted = server.site.num_submissions
    assert list(problem.io_examples) == CALLS
    assert problem.provenance["harvest"]["revealed"] == len(CALLS) - 1
    reasons = {row["task_id"]: row["reason"] for row in _rows(config.output / "dropped.jsonl")}
    assert reasons == {"t/none": "too few outcomes", "t/wrong": "the reference fails revealed tests: wrong"}
    told = json.loads((config.output / "manifest.json").read_text())["counts"]["harvest"]
    assert told["submissions"] == {"adaptive": counted + 1}  # one was for a problem that the judge does not have
    assert told["revealed"] == {"adaptive": len(CALLS)} and told["complete"] == 2
    assert {row["task_id"]: row["ended"] for row in _rows(config.output / "harvest.jsonl")} == {
        "t/double": "complete",
        "t/none": "not at this judge",
        "t/wrong": "complete",
    }
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "p.jsonl", "none.jsonl"], "none.jsonl: no such file or folder"),
        (["--input", "bad.jsonl"], "bad.jsonl:1: "),
        (["--input", "p.jsonl", "--references", "bad.jsonl"], "bad.jsonl:1: task_id: got None; must be a string"),
        (["--input", "p.jsonl", "--judge", "ftp://x"], "judge: got 'ftp://x'; must be http://HOST:PORT"),
        (["--input", "p.jsonl", "--budget", "0"], "budget: got 0; must be at least 1"),
        (["--input", "p.jsonl", "--strategies", "magic"], "strategies: got ['magic']; must be a list"),
    ],
    ids=["no file", "bad file", "references", "judge", "budget", "strategies"],
)
def test_bad_input_is_one_line_and_nothing_is_left(
    isolation: None, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "p.jsonl").write_text(json.dumps(function_problem().to_json()) + "\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        mine_contests(parse_command(MineConfig, [*arguments, "--output", "output"]))
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "p.jsonl"]


def test_the_judge_is_served_by_a_command(isolation: None, tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text(json.dumps(function_problem().to_json()) + "\n")
    (tmp_path / "p.jsonl").write_text(json.dumps(with_first_test(function_problem()).to_json()) + "\n")
    serve = [sys.executable, str(ROOT / "tools" / "serve_contest.py"), "--problems", "held.jsonl"]
    environment = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            mine = [sys.executable, str(ROOT / "tools" / "mine_contests.py"), "--input", "p.jsonl", "--judge", url]
            run = subprocess.run(
                [*mine, "--output", "out"], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
            )
        finally:
            server.terminate()
    assert run.returncode == 0, run.stderr
    (problem,) = read_problems(tmp_path / "out" / "problems.jsonl")
    assert list(problem.io_examples) == CALLS
