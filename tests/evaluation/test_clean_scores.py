"""Clean and contaminated problems: --ledger, the split, the intervals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.corpus import CorpusConfig, DecontaminationConfig
from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.corpus.build import build_corpus
from megatron_codex.errors import InputError
from megatron_codex.evaluation.clean_scores import clean_scores, contaminated_tasks
from megatron_codex.evaluation.judge_samples import evaluate_samples
from megatron_codex.evaluation.pass_at_k import TaskCount, estimate_difference, estimate_pass_at_k
from tests.evaluation.inputs import OTHER, SQUARE, WRONG, sample, write_lines


def config_for(folder: Path, ledger: list[Any], problems: list[Any] | None = None) -> EvaluationConfig:
    samples = [sample(), sample(), sample(task_id="t/other"), sample(WRONG, task_id="t/other")]
    (folder / "ledger.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ledger))
    return EvaluationConfig(
        samples=write_lines(folder / "samples.jsonl", samples),
        problems=write_lines(folder / "problems.jsonl", problems or [SQUARE, OTHER]),
        output=folder / "results.jsonl",
        ledger=folder / "ledger.jsonl",
        workers=1,
    )


def test_both_groups_and_their_difference_are_scored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = evaluate_samples(config_for(tmp_path, [{"task_id": "T/SQUARE"}, {"task_id": "HumanEval/7"}]))
    assert summary is not None
    assert summary["pass@1"] == 0.75 and summary["ledger_tasks_not_in_problems"] == 1
    assert summary["contaminated"] == {"num_problems": 1, "pass@1": 1.0, "pass@1_ci95": [1.0, 1.0]}
    assert summary["clean"]["num_problems"] == 1 and summary["clean"]["pass@1"] == 0.5
    assert summary["contaminated_minus_clean"] == {"pass@1": 0.5, "pass@1_ci95": [0.0, 1.0]}
    assert "ledger.jsonl names tasks that are not in the problems file: HumanEval/7" in caplog.text
    manifest = json.loads((tmp_path / "results.jsonl.manifest.json").read_text())
    assert manifest["contaminated_problems"] == ["t/square"]
    assert manifest["ledger_tasks_not_in_problems"] == ["HumanEval/7"]
    assert manifest["verdicts_of_problems"] == {"t/square": {"passed": 2}, "t/other": {"passed": 1, "wrong": 1}}
    assert len(manifest["inputs"]) == 3


def test_ledger_of_a_clean_corpus_is_empty(tmp_path: Path) -> None:
    summary = evaluate_samples(config_for(tmp_path, []))
    assert summary is not None and summary["clean"]["pass@1"] == summary["pass@1"] == 0.75
    assert summary["contaminated"] == {"num_problems": 0, "pass@1": None, "pass@1_ci95": None}
    assert summary["contaminated_minus_clean"] == {"pass@1": None, "pass@1_ci95": None}


def test_ledger_of_a_corpus_build_is_understood(tmp_path: Path) -> None:
    """The real thing: a problem planted in a file, found by build_corpus.py."""
    words = "Return the product of the given number with itself so that two becomes four and three becomes nine"
    planted = {**SQUARE, "prompt": f"def square(x):\n    '''{words}.'''\n"}
    problems = write_lines(tmp_path / "benchmark.jsonl", [planted, {**OTHER, "prompt": "def square(x):\n"}])
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text(f"# {words}\nx = 1\n")
    (tmp_path / "code" / "b.py").write_text("y = 2\n")
    decontamination = DecontaminationConfig(problems=(problems,))
    built = CorpusConfig(
        input=(tmp_path / "code",), output=tmp_path / "corpus", workers=1, decontamination=decontamination
    )
    build_corpus(built)
    config = config_for(tmp_path, [], [planted, OTHER])
    summary = evaluate_samples(dataclasses.replace(config, ledger=tmp_path / "corpus" / "contamination.jsonl"))
    assert summary is not None and summary["contaminated"]["pass@1"] == 1.0 and summary["clean"]["pass@1"] == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"task_id": "a"}\n{"task": "b"}\n', r"l\.jsonl:2: task_id: got None; must be a string; give the contamin"),
        ('{"task_id": 3}\n', r"l\.jsonl:1: task_id: got 3"),
        ("x\n", r"l\.jsonl:1: .*not valid JSON"),
        (None, r"l\.jsonl: no such file \(a ledger of contaminated documents\)"),
    ],
    ids=["no_task_id", "number", "no_json", "no_file"],
)
def test_file_that_is_no_ledger_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "l.jsonl").write_text(text)
    with pytest.raises(InputError, match=message):
        contaminated_tasks(tmp_path / "l.jsonl", ["a"])


def test_intervals_are_those_of_each_group_and_of_the_difference() -> None:
    counts = {str(n): TaskCount(num_samples=10, num_correct=n % 11) for n in range(60)}
    contaminated = {str(n) for n in range(60) if n % 11 > 5}
    scores = clean_scores(counts, contaminated, (1, 5))
    first = {task: count for task, count in counts.items() if task in contaminated}
    second = {task: count for task, count in counts.items() if task not in contaminated}
    for k in (1, 5):
        for name, group in (("contaminated", first), ("clean", second)):
            estimate = estimate_pass_at_k(group, k)
            assert scores[name][f"pass@{k}"] == estimate.value
            assert scores[name][f"pass@{k}_ci95"] == [estimate.low, estimate.high]
        low, high = scores["contaminated_minus_clean"][f"pass@{k}_ci95"]
        widths = [
            high - low for _, (low, high) in ((n, scores[n][f"pass@{k}_ci95"]) for n in ("clean", "contaminated"))
        ]
        # Independent groups: variances add, so the width is the root of the squares' sum; 2,000 resamples, 10 %.
        assert high - low == pytest.approx((widths[0] ** 2 + widths[1] ** 2) ** 0.5, rel=0.1)
        assert low < scores["contaminated_minus_clean"][f"pass@{k}"] < high


def test_difference_has_the_sign_of_its_order() -> None:
    good = {str(n): TaskCount(num_samples=4, num_correct=4 - n % 2) for n in range(20)}
    bad = {str(n): TaskCount(num_samples=4, num_correct=n % 2) for n in range(20)}
    forth, back = estimate_difference(good, bad, 1), estimate_difference(bad, good, 1)
    assert forth.value == -back.value == 0.75 and forth.low > 0 > back.high
