"""What the report says of temperatures, contamination, model sizes and other runs; and its coloured samples."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.model import ModelConfig
from megatron_codex.evaluation.report import metrics
from megatron_codex.evaluation.report.highlight import python_html
from megatron_codex.evaluation.report.side_by_side import run_names
from megatron_codex.evaluation.scaling_law import fit_power_law
from megatron_codex.jsonl import read_jsonl, write_jsonl
from megatron_codex.manifest import write_manifest
from tests.evaluation.report_run import change_parts, make_run, write_page

SIZES = {"tiny": 32, "small": 64, "medium": 128, "large": 256}


def _text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page[page.index("<main>") :])).split())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


def test_the_best_temperature_of_each_k_is_named(run: Path) -> None:
    """At 0.2 half the tasks pass always, at 0.8 all tasks pass half the time: better at 10 samples only."""
    for name, passed in (("cold", lambda task, sample: task % 2), ("hot", lambda task, sample: sample < 4)):
        rows = [
            {"task_id": f"t{task}", "completion": "", "verdict": "passed" if passed(task, sample) else "wrong"}
            for task in range(12)
            for sample in range(10)
        ]
        write_jsonl(run / name / "results.jsonl", rows)
    evaluations = [
        {"label": f"S at {t}", "path": f"{name}/results.jsonl", "model": "Codex-S", "temperature": t}
        for t, name in ((0.8, "hot"), (0.2, "cold"))
    ]
    change_parts(run, {"evaluations": evaluations, "comparisons": []})
    text = _text_of(write_page(run))
    assert re.search(r"pass@1 0\.2 50\.0% .* pass@10 0\.8 100\.0% \[", text)


def test_contaminated_problems_are_scored_apart(run: Path) -> None:
    assert "in the corpus" not in _text_of(write_page(run))
    path = run / "base" / "results.jsonl.manifest.json"
    manifest = json.loads(path.read_text())
    clean = {"num_problems": 9, "pass@1": 0.25, "pass@1_ci95": [0.1, 0.4]}
    contaminated = {"num_problems": 3, "pass@1": 0.5, "pass@1_ci95": [0.2, 0.8]}
    difference = {"pass@1": 0.25, "pass@1_ci95": [-0.1, 0.5]}
    manifest["summary"] = {"clean": clean, "contaminated": contaminated, "contaminated_minus_clean": difference}
    path.write_text(json.dumps(manifest))
    text = _text_of(write_page(run))
    assert "base, not in the corpus 9 25.0% [10.0%, 40.0%] base, in the corpus 3 50.0% [20.0%, 80.0%]" in text
    assert "base, difference – 25.0% [-10.0%, 50.0%]" in text


def test_sizes_that_follow_a_power_law_show_it(run: Path) -> None:
    for name, width in SIZES.items():
        model = ModelConfig(num_layers=2, hidden_size=width, num_attention_heads=2, seq_length=64)
        config = {"model": config_to_dict(model)}
        write_manifest(run / name, command="train", config=config, inputs=[], counts={}, started_at=0)
        loss = (model.num_layer_parameters / 4.2e7) ** -0.21
        rows = [{"step": 1, "loss": 9.0, "valid_loss": loss}, {"step": 2, "loss": 9.0, "valid_loss": loss + 0.1}]
        write_jsonl(run / name / "metrics.jsonl", rows)
    change_parts(run, {"scaling": [{"label": "four sizes", "runs": list(SIZES)}]})
    text = _text_of(write_page(run))
    assert "(N / 4.2e+07) ^ -0.21" in text
    assert re.search(r"tiny 25,\d{3} \d\.\d{4} [+-]0\.00 %", text)


def test_residuals_are_what_is_left_of_a_law() -> None:
    sizes = [10**4, 10**5, 10**6, 10**7]
    law = fit_power_law(sizes, [4.0, 3.3, 2.4, 2.1])
    assert law is not None and law.alpha == pytest.approx(0.0978, abs=1e-3)
    losses = [law.loss(size) * math.exp(left) for size, left in zip(sizes, law.residuals, strict=True)]
    assert losses == pytest.approx([4.0, 3.3, 2.4, 2.1])
    assert sum(law.residuals) == pytest.approx(0) and max(map(abs, law.residuals)) > 0.02
    assert fit_power_law(sizes, [2.0] * 4) is None


def test_runs_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    others = make_run(tmp_path / "seed_2", num_passed=4), make_run(tmp_path / "seed_3", num_passed=1)
    assert "seed_2" not in _text_of(write_page(run))
    page = write_page(run, compare=others)
    text = _text_of(page)
    assert "Codex-S, pass@1 60.0% 40.0% 10.0% 36.7% 10.0% to 60.0%" in text
    claim = re.search(r"Codex-S passes more than base \(pass@1, 12 problems\) \+40.*? (\d of 3)", text)
    assert claim is not None and claim.group(1) == "2 of 3"
    assert page.count("base: loss per token (nats)") == 1


def test_a_run_without_parts_of_its_own_has_those_of_the_first(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", num_passed=4)
    (other / "report.yaml").unlink()
    assert "Codex-S, pass@1 60.0% 40.0%" in _text_of(write_page(run, compare=(other,)))


def _held_out_losses(run: Path, name: str, losses: dict[int, float]) -> dict[str, str]:
    rows = [{"step": step, "loss": loss, "num_tokens": 1, "valid_loss": loss} for step, loss in losses.items()]
    write_jsonl(run / name / "metrics.jsonl", rows)
    return {"label": name, "path": name}


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ({10: 2.0, 20: 1.5, 30: 1.4}, "step 20 against step 30, loss 1.500 seen"),
        ({10: 2.0, 20: 1.51, 30: 1.5}, "step 30 against step 30, loss 1.500 not shown"),
        ({10: 2.0, 20: 1.7}, "never against step 30, loss 1.500 not shown"),
    ],
    ids=["sooner", "at the same step", "never"],
)
def test_a_run_converges_faster_when_it_has_the_others_best_loss_sooner(
    run: Path, losses: dict[int, float], words: str
) -> None:
    slower = _held_out_losses(run, "scratch", {10: 3.0, 20: 1.9, 30: 1.5, 40: 1.6})
    claim = {"claim": "a checkpoint helps", "faster": "checkpoint", "slower": "scratch"}
    change_parts(run, {"training": [slower, _held_out_losses(run, "checkpoint", losses)], "convergences": [claim]})
    assert f"a checkpoint helps {words}" in _text_of(write_page(run))


def test_a_claim_is_tested_at_its_k(run: Path) -> None:
    claim = {"claim": "of ten", "better": "Codex-S", "worse": "base"}
    change_parts(run, {"comparisons": [{**claim, "k": 1}, {**claim, "k": 10}]})
    text = _text_of(write_page(run))
    assert "of ten (pass@1, 12 problems) +40.0" in text
    assert "of ten (pass@10, 12 problems) +0.0" in text  # of ten samples of either, one passes each problem


def test_the_numbers_of_several_runs_are_markdown_tables(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "seed|2", num_passed=1)
    write_page(run, compare=(other,), markdown=tmp_path / "tables.md")
    tables = (tmp_path / "tables.md").read_text()
    assert "| pass@k (%) | run | seed\\|2 |\n| --- | --- | --- |\n" in tables
    assert "| Codex-S, pass@1 | 60.0 [60.0, 60.0] | 10.0 [10.0, 10.0] |\n" in tables
    assert "| Codex-S, chain length 2, pass@1 | 60.0 [60.0, 60.0] | 10.0 [10.0, 10.0] |\n" in tables
    claims = [line for line in tables.splitlines() if line.startswith("| Codex-S passes more than base")]
    assert len(claims) == 1
    assert "| +40.0 [+40.0, +40.0]: seen | -10.0 [-10.0, -10.0]: opposite | 1 of 2 |" in claims[0]
    assert "| base | 0.005 at step 1,000 | 0.005 at step 1,000 |\n" in tables
    widths = [{line.count(" |") for line in table.splitlines()} for table in tables.split("\n\n")]
    assert all(len(width) == 1 for width in widths)


def test_a_claim_on_convergence_is_counted_as_seen_like_any_other(run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    claim = {"claim": "helps", "faster": "checkpoint", "slower": "scratch"}
    for folder, first in ((run, 1.5), (other, 2.9)):
        parts = [_held_out_losses(folder, "scratch", {10: 3.0, 20: 1.5})]
        parts.append(_held_out_losses(folder, "checkpoint", {10: first, 20: 1.5}))
        change_parts(folder, {"training": parts, "convergences": [claim]})
    write_page(run, compare=(other,), markdown=tmp_path / "tables.md")
    words = "step {} against step 20, loss 1.500"
    expected = f"| helps | {words.format(10)}: seen | {words.format(20)}: not shown | 1 of 2 |\n"
    assert expected in (tmp_path / "tables.md").read_text()


def test_each_runs_metrics_are_read_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves, convergence, the best losses and runs side by side all show them."""
    other = make_run(tmp_path / "other")
    change_parts(run, {"convergences": [{"claim": "itself", "faster": "base", "slower": "base"}]})
    read: list[Path] = []

    def noted(path: Path) -> Iterator[dict[str, Any]]:
        read.append(path)
        return read_jsonl(path)

    monkeypatch.setattr(metrics, "read_jsonl", noted)
    write_page(run, compare=(other,), markdown=tmp_path / "tables.md")
    assert read == [folder / "training" / "metrics.jsonl" for folder in (run, other)]


def test_names_of_runs_tell_them_apart() -> None:
    assert run_names([Path("/a/seed_1"), Path("/a/seed_2")]) == ["seed_1", "seed_2"]
    assert run_names([Path("/a/x/run"), Path("/b/x/run")]) == ["a/x/run", "b/x/run"]
    assert run_names([Path("/a/x"), Path("/a/x")]) == ["1: /a/x", "2: /a/x"]


@given(st.text() | st.text(alphabet="def f(x):\n\t'\"#\\{}\r\u2028 return0x"))
def test_colours_change_no_character(text: str) -> None:
    assert html.unescape(re.sub(r"</?span[^>]*>", "", python_html(text))) == text


def test_kinds_of_tokens_have_their_classes() -> None:
    shown = python_html("def f(x):\n    # why\n    return 'a' if x in 5 else len(x)")
    for part in ('"k">def', '"f">f', '"c"># why', '"s">&#x27;a&#x27;', '"k">in', '"n">5', '"b">len'):
        assert part in shown
