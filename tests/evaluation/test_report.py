"""The report page: self-contained, escaped, and numbers that match their files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from megatron_codex.config.report import ReportConfig, RerankConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.evaluation.figures import Series, line_figure
from megatron_codex.evaluation.rank_samples import write_ranking
from megatron_codex.evaluation.report.build import write_report
from megatron_codex.evaluation.report.scores import Finding
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.manifest import write_manifest

EVIL = "    return '</pre><script>alert(1)</script>&<img src=http://example.com/x>'\n"
NUM_TASKS, NUM_SAMPLES = 12, 10


def _problems() -> list[dict[str, object]]:
    return [
        {
            "task_id": f"t{task}",
            "prompt": f'def f{task}(x):\n    """Do <b>{task}</b>."""\n',
            "entry_point": f"f{task}",
            "canonical_solution": "    return x\n",
            "test": "def check(candidate): pass",
            "provenance": {"chain_length": 1 + task % 3},
        }
        for task in range(NUM_TASKS)
    ]


def _results(num_passed: int) -> list[dict[str, object]]:
    """num_passed of the samples of every task pass; one more sample of the first task has no verdict on it."""
    verdicts = ["passed"] * num_passed + ["wrong", "timeout"] * NUM_SAMPLES
    rows: list[dict[str, object]] = [
        {
            "task_id": f"t{task}",
            "completion": EVIL,
            "verdict": verdicts[sample],
            "detail": "<i>x</i>",
            "mean_logp": -1.0 if sample < num_passed else -2.0,
            "sum_logp": -10.0,
        }
        for task in range(NUM_TASKS)
        for sample in range(NUM_SAMPLES)
    ]
    return [*rows, {**rows[0], "verdict": "infra"}]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with every part."""
    run = tmp_path / "run"
    started_at = time.time()
    write_jsonl(run / "problems.jsonl", _problems())
    for name, num_passed in (("base", 2), ("codex_s", 6)):
        results = run / name / "results.jsonl"
        write_jsonl(results, _results(num_passed))
        config = {"temperature": 0.8, "note": EVIL}
        write_manifest(
            results.parent,
            name="results.jsonl.manifest.json",
            command="evaluate.py",
            config=config,
            inputs=[run / "problems.jsonl"],
            counts={"samples": 121},
            started_at=started_at,
        )
    metrics = [
        {"step": step, "loss": 5 / step, "lr": 1e-3, "grad_norm": 1.0, "tokens_per_s": 9e3, "num_tokens": 1024}
        | ({"valid_loss": 5.5 / step} if step % 100 == 0 else {})
        for step in range(1, 1001)
    ]
    write_jsonl(run / "training" / "metrics.jsonl", metrics)
    counts = {"files": {"kept": 1234567, "duplicate": 89, "syntax <error>": 0}}
    for name in ("training", "corpus"):
        write_manifest(
            run / name, command=name, config={}, inputs=[run / "problems.jsonl"], counts=counts, started_at=started_at
        )
    funnel = {"counts": {"problems": 120, "solved": 45}, "dropped": {"solved": {"too <hard>": 75}}}
    (run / "training" / "funnel.json").write_text(json.dumps({"format": "megatron_codex/funnel/1", **funnel}))
    rows = list(read_jsonl(run / "codex_s" / "results.jsonl"))
    write_ranking(RerankConfig(results=run / "codex_s" / "results.jsonl", output=run / "ranking"), rows)
    arms = [{"arm": "generated docstring", "pass_rate": 0.25, "low": 0.2, "high": 0.3}]
    round_trip = {"format": "megatron_codex/round_trip/1", "arms": arms, "bleu": 0.3, "without_docstring": 4}
    (run / "round_trip.json").write_text(json.dumps(round_trip))
    evaluation = {"problems": "problems.jsonl", "group_by": "chain_length"}
    parts = {
        "title": "A <test> run",
        "counts": [{"label": "Corpus", "path": "corpus"}, {"label": "Filter", "path": "training/funnel.json"}],
        "training": [{"label": "base", "path": "training"}],
        "evaluations": [
            {"label": "base", "path": "base/results.jsonl", **evaluation},
            {"label": "Codex-S", "path": "codex_s/results.jsonl", **evaluation},
        ],
        "comparisons": [{"claim": "Codex-S passes more than base", "better": "Codex-S", "worse": "base"}],
        "rankings": [{"label": "Codex-S", "path": "ranking"}],
        "round_trips": [{"label": "Codex-D", "path": "round_trip.json"}],
        "not_reproduced": ["Variable binding <was> not tried."],
    }
    (run / "report.yaml").write_text(yaml.safe_dump(parts))
    return run


def _page(run: Path) -> str:
    output = run.parent / "report.html"
    write_report(ReportConfig(run=run, output=output))
    return output.read_text()


class _Checker(HTMLParser):
    """Collects tags and attributes, and fails on elements closed out of order."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _parse(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_the_page_is_well_formed_self_contained_and_escaped(run: Path) -> None:
    page = _page(run)
    checker = _parse(page)
    assert not {"script", "img", "link", "iframe", "b", "i", "test", "was"} & set(checker.tags)
    for name, value in checker.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action"):
            assert value is not None and value.startswith("#"), f"{name}={value} leaves the page"
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    text = "".join(checker.text)
    for shown in (EVIL, "Do <b>", "A <test> run", "<i>x</i>", "syntax <error>", "Variable binding <was> not tried."):
        assert shown in text


def test_ids_are_unique_and_references_are_met(run: Path) -> None:
    """Two figures on one page must not clip or mark each other."""
    checker = _parse(_page(run))
    used = {
        reference
        for name, value in checker.attributes
        for reference in re.findall(r"url\(#([^)]+)\)|^#(.+)$", value or "")
        for reference in reference
        if reference
    }
    ids = [value for name, value in checker.attributes if name == "id"]
    assert used and sorted(map(str, ids)) == sorted(used)


def test_the_numbers_are_those_of_the_files(run: Path) -> None:
    text = " ".join("".join(_parse(_page(run)).text).split())
    assert re.search(r"base ?12 ?120 ?20\.0% \[20\.0%, 20\.0%\]", text)  # the harness fault is in no count
    assert "60.0% [60.0%, 60.0%]" in text
    assert "chain length 1" in text and "chain length 3" in text
    assert "base 1, Codex-S 1." in text  # harness faults
    assert "Codex-S passes more than base (pass@1, 12 problems)" in text and "+40.0 [+40.0, +40.0]" in text
    assert "Codex-S: mean log p beats random choice of 10 samples" in text and "sum log p beats" not in text
    assert "1,234,567" in text
    assert "dropped before: solved" in text and re.search("too <hard> ?75", text)
    assert "25.0% [20.0%, 30.0%]" in text and "0.300" in text
    assert "1,000 steps, 1,024,000 tokens in the loss; last training loss 0.005, held-out loss 0.005" in text


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.1, 0.3, "seen"), (-0.1, 0.3, "not shown"), (-0.3, -0.1, "opposite")]
)
def test_a_finding_is_seen_only_when_its_interval_lies_above_zero(low: float, high: float, outcome: str) -> None:
    assert Finding("claim", 0.1, low, high).outcome == outcome


def test_equal_runs_give_equal_pages(run: Path) -> None:
    assert _page(run) == _page(run)


def test_long_curves_do_not_grow_the_page(run: Path) -> None:
    before = len(_page(run))
    metrics = [{"step": step, "loss": 1.0 + step % 7, "lr": 1e-3} for step in range(1, 50_001)]
    write_jsonl(run / "training" / "metrics.jsonl", metrics)
    assert len(_page(run)) < before + 20_000


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"training": [{"label": "x", "path": "nowhere"}]}, InputError, r"nowhere/metrics.jsonl: no such file"),
        (
            {"rankings": [{"label": "x", "path": "round_trip.json"}]},
            InputError,
            "is not of format megatron_codex/rerank",
        ),
        ({"evaluations": [{"label": "x", "path": "problems.jsonl"}], "comparisons": []}, InputError, "has no verdict"),
        (
            {"comparisons": [{"claim": "c", "better": "S", "worse": "base"}]},
            ConfigError,
            "is no label of an evaluation",
        ),
        ({"titel": "x"}, ConfigError, "did you mean title"),
    ],
    ids=["missing metrics", "wrong file", "not judged", "unknown label", "misspelt key"],
)
def test_faulty_parts_are_named_and_nothing_is_written(
    run: Path, change: dict[str, object], error: type[Exception], message: str
) -> None:
    parts = yaml.safe_load((run / "report.yaml").read_text())
    (run / "report.yaml").write_text(yaml.safe_dump({**parts, **change}))
    with pytest.raises(error, match=message):
        _page(run)
    assert not (run.parent / "report.html").exists()


def test_figures_are_xml_that_takes_the_ink_of_the_page() -> None:
    series = [Series(label="a & b", x=[1, 2], y=[0.1, 0.2], low=[0.0, 0.1], high=[0.2, 0.3], marker=True)]
    svg = line_figure(series * 2, name='quotes " & <tags>', x_label="<x>", y_label="y", ticks=[1, 2], log_x=True)
    ElementTree.fromstring(svg)
    assert "currentColor" in svg and "#010203" not in svg and "#000000" not in svg
    assert svg == line_figure(
        series * 2, name='quotes " & <tags>', x_label="<x>", y_label="y", ticks=[1, 2], log_x=True
    )


def test_report_and_ranking_never_import_torch() -> None:
    code = "import megatron_codex.evaluation.report.build, megatron_codex.evaluation.grade_docstrings, sys; "
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)
