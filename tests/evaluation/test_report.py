"""The report page: self-contained, escaped, and numbers that match their files."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from megatron_codex.errors import ConfigError, InputError
from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.report.claims import Finding
from megatron_codex.jsonl import write_jsonl
from tests.evaluation.report_run import EVIL, change_parts, make_run, write_page


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


class _Checker(HTMLParser):
    """Collects tags and attributes, and fails on elements closed out of order."""

    VOID = ("meta", "input")

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
    page = write_page(run)
    checker = _parse(page)
    assert checker.tags.count("script") == 1  # the page's own, whose hash its policy names
    assert not {"img", "link", "iframe", "b", "i", "test", "was"} & set(checker.tags)
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
    checker = _parse(write_page(run))
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
    text = " ".join("".join(_parse(write_page(run)).text).split())
    assert re.search(r"base ?12 ?120 ?20\.0% \[20\.0%, 20\.0%\]", text)  # the harness fault is in no count
    assert "60.0% [60.0%, 60.0%]" in text
    assert "chain length 1" in text and "chain length 3" in text
    assert "base 1, Codex-S 1." in text  # harness faults
    assert "Codex-S passes more than base (pass@1, 12 problems)" in text and "+40.0 [+40.0, +40.0]" in text
    assert "Codex-S: mean log p beats random choice of 10 samples" in text and "sum log p beats" not in text
    assert "1,234,567" in text
    assert "dropped before: solved" in text and re.search("too <hard> ?75", text)
    assert "25.0% [20.0%, 30.0%]" in text and "0.300" in text and "-0.070" in text
    assert "1,000 steps, 1,024,000 tokens in the loss; last training loss 0.005, held-out loss 0.005" in text


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.1, 0.3, "seen"), (-0.1, 0.3, "not shown"), (-0.3, -0.1, "opposite")]
)
def test_a_finding_is_seen_only_when_its_interval_lies_above_zero(low: float, high: float, outcome: str) -> None:
    assert Finding("claim", 0.1, low, high).outcome == outcome


def test_equal_runs_give_equal_pages(run: Path) -> None:
    assert write_page(run) == write_page(run)


def test_long_curves_do_not_grow_the_page(run: Path) -> None:
    before = len(write_page(run))
    metrics = [{"step": step, "loss": 1.0 + step % 7, "lr": 1e-3} for step in range(1, 50_001)]
    write_jsonl(run / "training" / "metrics.jsonl", metrics)
    assert len(write_page(run)) < before + 20_000


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
            "is no label in evaluations",
        ),
        ({"comparisons": [{"claim": "c", "better": "base", "worse": "base", "k": 0}]}, ConfigError, "at least 1"),
        ({"comparisons": [{"claim": "c", "better": "base", "worse": "base", "k": 11}]}, InputError, "one has 10"),
        ({"convergences": [{"claim": "c", "faster": "base", "slower": "x"}]}, ConfigError, "is no label in training"),
        ({"titel": "x"}, ConfigError, "did you mean title"),
        ({"training": [{"label": "x", "path": "training"}] * 2}, ConfigError, "two have this label"),
        ({"scaling": [{"label": "x", "runs": ["training"] * 2}]}, ConfigError, "at least 3 runs"),
        ({"scaling": [{"label": "x", "runs": ["training"] * 3}]}, InputError, "all of one size"),
        ({"scaling": [{"label": "x", "runs": ["training", "corpus", "base"]}]}, InputError, "corpus.*no model"),
        (
            {"evaluations": [{"label": "x", "path": "base/results.jsonl", "model": "base"}], "comparisons": []},
            ConfigError,
            "model needs temperature",
        ),
    ],
    ids=[
        "missing metrics",
        "wrong file",
        "not judged",
        "unknown label",
        "no sample",
        "more than there are samples",
        "unknown training run",
        "misspelt key",
        "a label twice",
        "two sizes",
        "one size",
        "no training run",
        "no temperature",
    ],
)
def test_faulty_parts_are_named_and_nothing_is_written(
    run: Path, change: dict[str, object], error: type[Exception], message: str
) -> None:
    change_parts(run, change)
    with pytest.raises(error, match=message):
        write_page(run)
    assert not (run.parent / "report.html").exists()


def test_figures_are_xml_that_takes_the_ink_of_the_page() -> None:
    series = [Series(label="a & b", x=[1, 2], y=[0.1, 0.2], low=[0.0, 0.1], high=[0.2, 0.3], marker=True)]
    name = 'quotes " & <tags>'
    figure = LineFigure(series=series * 2, name=name, x_label="<x>", y_label="y", ticks=[1, 2], log_x=True)
    svg = figure.inline_svg()
    ElementTree.fromstring(svg)
    assert "currentColor" in svg and "#010203" not in svg and "#000000" not in svg
    assert svg == figure.inline_svg()


def test_figures_are_written_as_files_too(run: Path, tmp_path: Path) -> None:
    page = write_page(run, figures=tmp_path / "figures")
    written = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(written) == 2 * page.count("<figure>")
    assert "07_base_tokens_per_second.png" in written and "05_base_learning_rate.svg" in written
    for path in (tmp_path / "figures").iterdir():
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg") and "currentColor" not in path.read_text()
        else:
            width, height = struct.unpack(">2I", path.read_bytes()[16:24])
            assert (width, height) == (1920, 1020)


def test_report_and_ranking_never_import_torch() -> None:
    code = "import megatron_codex.evaluation.report.build, megatron_codex.evaluation.grade_docstrings, sys; "
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True)
