"""rerank.py and grade_docstrings.py as they are called, with a random model: files, counts and refusals."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_codex.jsonl import read_jsonl, write_jsonl

ROOT = Path(__file__).parents[2]
Command = Callable[..., tuple[int, str, str]]


def _problem(task_id: str) -> dict[str, str]:
    return {
        "task_id": task_id,
        "prompt": 'def f(x):\n    """Return x."""\n',
        "entry_point": "f",
        "canonical_solution": "    return x\n",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
        "signature": "def f(x):\n",
        "docstring": "Return x.",
        "body": "    return x\n",
    }


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    write_jsonl(path, [_problem("a"), _problem("b")])
    return path


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a tool in this process (importing torch takes seconds): exit code, stdout and stderr."""

    def run(tool: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(ROOT / "tools" / tool), run_name="__main__")
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, *capsys.readouterr()

    return run


def _results(path: Path) -> None:
    rows = [
        {"task_id": task, "completion": text, "verdict": verdict, "mean_logp": score, "sum_logp": score}
        for task in ("a", "b")
        for text, verdict, score in (("    return x\n", "passed", -1.0), ("    return 2\n", "wrong", -2.0))
    ]
    write_jsonl(path, [*rows, {**rows[0], "completion": "    x\n" * 200}])


def test_rerank_scores_docstrings_and_writes_curves(
    tmp_path: Path, checkpoint: Path, problems: Path, command: Command
) -> None:
    results, output = tmp_path / "results.jsonl", tmp_path / "ranking"
    _results(results)
    arguments = ["--results", results, "--output", output, "--k", "1,2"]
    code, printed, errors = command(
        "rerank.py", *arguments, "--docstring-checkpoint", checkpoint, "--problems", problems
    )
    assert code == 0, errors
    report = json.loads((output / "ranking.json").read_text())
    names = ["random", "mean log p", "sum log p", "back-translation", "oracle"]
    assert [curve["ranker"] for curve in report["curves"]] == names and report["k"] == [1, 2]
    assert "mean log p: 1:" in printed
    assert (output / "ranking.svg").read_text().startswith("<?xml")
    assert json.loads((output / "manifest.json").read_text())["counts"]["samples"] == 5


def test_rerank_refuses_back_translation_without_problems(tmp_path: Path, command: Command) -> None:
    arguments = ["--results", tmp_path / "r.jsonl", "--output", tmp_path / "o", "--docstring-checkpoint", tmp_path]
    code, _, errors = command("rerank.py", *arguments)
    assert code == 2 and errors.startswith("error: problems: is required with docstring_checkpoint")


def test_grade_docstrings_runs_the_whole_trip(
    tmp_path: Path, checkpoint: Path, problems: Path, command: Command
) -> None:
    output = tmp_path / "grades"
    models = ["--docstring-checkpoint", checkpoint, "--code-checkpoint", checkpoint]
    sizes = ["--num-samples", 3, "--num-code-samples", 2, "--max-new-tokens", 8, "--judge-workers", 1]
    code, printed, errors = command("grade_docstrings.py", *models, "--problems", problems, "--output", output, *sizes)
    assert code == 0, errors
    summary = json.loads((output / "round_trip.json").read_text())
    assert [arm["arm"] for arm in summary["arms"]] == ["generated docstring", "true docstring", "no docstring"]
    docstrings = list(read_jsonl(output / "docstrings.jsonl"))
    assert len(docstrings) == 6 and summary["num_docstrings"] == 6
    read = sum(row["docstring"] is not None for row in docstrings)
    programs = list(read_jsonl(output / "programs.jsonl"))
    assert len(programs) == 2 * (read + 2 * 2) and all(row["verdict"] != "infra" for row in programs)
    assert "true docstring:" in printed and (output / "manifest.json").is_file()


@pytest.mark.parametrize("field", ["signature", "docstring", "body", "test"])
def test_grade_docstrings_refuses_problems_without_parts(
    field: str, tmp_path: Path, checkpoint: Path, command: Command
) -> None:
    problems, output = tmp_path / "p.jsonl", tmp_path / "grades"
    # A prompt of another form, so that the reader cannot fill the field in.
    write_jsonl(problems, [{**_problem("a"), "prompt": "# f returns its argument\n", field: ""}])
    models = ["--docstring-checkpoint", checkpoint, "--code-checkpoint", checkpoint]
    code, _, errors = command("grade_docstrings.py", *models, "--problems", problems, "--output", output)
    assert code == 2 and errors.startswith("error: a") and errors.count("\n") == 1
    assert not output.exists()
