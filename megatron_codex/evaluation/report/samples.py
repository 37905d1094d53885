"""Samples with their verdicts, as the models wrote them: coloured, and searchable where the page's script runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from megatron_codex.evaluation.report.highlight import python_html
from megatron_codex.evaluation.report.markup import Html, details, tag, text
from megatron_codex.evaluation.report.results import Results, choose_samples
from megatron_codex.records import VERDICT_NAMES, Problem

_MAX_CHARS = 4000
"""Of one shown text."""


def samples_section(evaluations: Sequence[Results], *, number: int) -> list[Html]:
    """`number` samples of each evaluation, under a form that filters them."""
    shown = []
    models: list[str] = []
    verdicts: set[str] = set()
    for results in evaluations:
        chosen = choose_samples(results, number)
        if chosen:
            models.append(results.label)
            verdicts.update(row["verdict"] for row in chosen)
            of_model = [_sample(row, results.problems.get(row["task_id"]), results.label) for row in chosen]
            shown += [tag("h3", results.label), *of_model]
    return [_form(models, [name for name in VERDICT_NAMES if name in verdicts]), *shown] if shown else []


def _form(models: Sequence[str], verdicts: Sequence[str]) -> Html:
    """Hidden until the page's script can serve it."""
    return tag(
        "form",
        Html('<input type="search" name="words" placeholder="text in a sample" aria-label="text in a sample">'),
        _choice("model", "all models", models),
        _choice("verdict", "all verdicts", verdicts),
        tag("output"),
        class_="filter",
        hidden="",
    )


def _choice(name: str, all_of_them: str, values: Sequence[str]) -> Html:
    options = [tag("option", all_of_them, value=""), *(tag("option", value, value=value) for value in values)]
    return tag("select", *options, name=name, aria_label=all_of_them)


def _sample(row: Mapping[str, Any], problem: Problem | None, model: str) -> Html:
    mean = row.get("mean_logp")
    score = f", mean log p {mean:.2f}" if isinstance(mean, (int, float)) else ""
    verdict = tag("mark", row["verdict"], class_="good" if row["verdict"] == "passed" else "bad")
    summary = Html(f"{verdict} {text(row['task_id'])}{text(score)}")
    prompt = tag("span", python_html(_cut(problem.prompt)), class_="prompt") if problem else Html("")
    code = tag("pre", tag("code", prompt, python_html(_cut(str(row.get("completion", ""))))))
    detail = tag("p", _cut(str(row.get("detail", ""))), class_="soft") if row.get("detail") else Html("")
    return details(summary, Html(code + detail), class_="sample", data_model=model, data_verdict=row["verdict"])


def _cut(value: str) -> str:
    return value if len(value) <= _MAX_CHARS else f"{value[:_MAX_CHARS]}\n… ({len(value):,} characters)"
