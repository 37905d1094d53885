"""Samples with their verdicts, as the model wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from megatron_codex.evaluation.report.markup import Html, details, tag, text
from megatron_codex.evaluation.report.results import Results, choose_samples
from megatron_codex.records import Problem

_MAX_CHARS = 4000
"""Of one shown text."""


def samples_section(evaluations: Sequence[Results], *, number: int) -> list[Html]:
    """`number` samples of each evaluation."""
    shown = []
    for results in evaluations:
        chosen = choose_samples(results, number)
        if chosen:
            shown += [tag("h3", results.label), *(_sample(row, results.problems.get(row["task_id"])) for row in chosen)]
    return shown


def _sample(row: Mapping[str, Any], problem: Problem | None) -> Html:
    passed = row["verdict"] == "passed"
    mean = row.get("mean_logp")
    score = f", mean log p {mean:.2f}" if isinstance(mean, (int, float)) else ""
    verdict = tag("mark", row["verdict"], class_="good" if passed else "bad")
    summary = Html(f"{verdict} {text(row['task_id'])}{text(score)}")
    prompt = tag("span", _cut(problem.prompt), class_="prompt") if problem else Html("")
    code = tag("pre", tag("code", prompt, _cut(str(row.get("completion", "")))))
    detail = tag("p", _cut(str(row.get("detail", ""))), class_="soft") if row.get("detail") else Html("")
    return details(summary, Html(code + detail))


def _cut(value: str) -> str:
    return value if len(value) <= _MAX_CHARS else f"{value[:_MAX_CHARS]}\n… ({len(value):,} characters)"
