"""Sections on how good the models are: pass@k, ranking, round trip, and what of the paper's claims was seen here.

A claim is "seen" when the 95 % interval of the difference lies above zero, "opposite" when it lies below, else "not
shown": at this size the run cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from megatron_codex.config.report import ComparisonPart, FilePart
from megatron_codex.errors import InputError
from megatron_codex.evaluation.figures import Series, line_figure
from megatron_codex.evaluation.intervals import draw_problems, mean_interval
from megatron_codex.evaluation.pass_at_k import estimate_pass_at_k, pass_at_k
from megatron_codex.evaluation.rank_samples import ranking_figure
from megatron_codex.evaluation.report.json_file import read_json
from megatron_codex.evaluation.report.markup import Content, Html, figures, table, tag
from megatron_codex.evaluation.report.results import ALL, Results, natural_order
from megatron_codex.evaluation.reranking import FORMAT as RANKING_FORMAT
from megatron_codex.evaluation.reranking import RANDOM
from megatron_codex.evaluation.round_trip import FORMAT as ROUND_TRIP_FORMAT

_BOOTSTRAP_SEED = 0

_CLAIMED_RANKERS = ("mean log p", "back-translation")
"""Those that the paper says beat random choice (sections 3.3 and 5); of sum log p it says that it can be worse."""


@dataclass(frozen=True)
class Finding:
    """A claim and the difference that tests it, in shares of problems."""

    claim: str
    value: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """ "seen", "opposite" or "not shown"."""
        if self.low > 0:
            return "seen"
        return "opposite" if self.high < 0 else "not shown"


def pass_at_k_section(evaluations: Sequence[Results]) -> list[Html]:
    """The table of pass@k by model and group, and pass@k by group as figures."""
    if not evaluations:
        return []
    ks = sorted({k for results in evaluations for k in results.k})
    rows: list[list[Content]] = []
    for results in evaluations:
        for group, tasks in results.groups.items():
            counts = {task: results.counts[task] for task in tasks}
            cells: list[Content] = []
            for k in ks:
                if k in results.k:
                    found = estimate_pass_at_k(counts, k)
                    cells.append(f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]")
                else:
                    cells.append(None)
            name = results.label if group == ALL else f"{results.label}, {group}"
            rows.append([name, len(tasks), sum(count.num_samples for count in counts.values()), *cells])
    note = "95 % bootstrap intervals over problems. Samples on which the harness failed are in no count: "
    infra = ", ".join(f"{results.label} {results.verdicts['infra']}" for results in evaluations)
    head = ["model", "problems", "samples", *(f"pass@{k}" for k in ks)]
    return [table(head, rows), tag("p", f"{note}{infra}.", class_="soft"), _group_figures(evaluations, ks)]


def ranking_section(parts: Sequence[FilePart]) -> tuple[list[Html], list[Finding]]:
    """Curves of each ranking file, and the paper's claims on them at its largest k."""
    drawn, findings = [], []
    for part in parts:
        report = read_json(part.path, RANKING_FORMAT, name="ranking.json")
        drawn.append((part.label, ranking_figure(report, name=f"ranking: {part.label}")))
        for curve in report["curves"]:
            if curve["ranker"] not in _CLAIMED_RANKERS:
                continue
            difference = {name: curve["minus_random"][name][-1] for name in ("pass_rate", "low", "high")}
            claim = f"{part.label}: {curve['ranker']} beats {RANDOM} choice of {report['k'][-1]} samples"
            findings.append(Finding(claim, difference["pass_rate"], difference["low"], difference["high"]))
    return ([figures(drawn)] if drawn else []), findings


def round_trip_section(parts: Sequence[FilePart]) -> list[Html]:
    """The table of each round trip's arms."""
    shown = []
    for part in parts:
        report = read_json(part.path, ROUND_TRIP_FORMAT, name="round_trip.json")
        rows: list[list[Content]] = [
            [arm["arm"], f"{arm['pass_rate']:.1%} [{arm['low']:.1%}, {arm['high']:.1%}]"] for arm in report["arms"]
        ]
        if "bleu" in report:
            rows.append([f"BLEU against the true docstring ({report.get('bleu_kind', '')})", f"{report['bleu']:.3f}"])
        rows.append(["samples without a readable docstring (count as failed)", report["without_docstring"]])
        shown += [tag("h3", part.label), table(["code written from the", "passes its tests"], rows)]
    note = "An addition of this project: docstring → code → unit tests. The paper grades docstrings by hand."
    return [tag("p", note, class_="soft"), *shown] if shown else []


def compare(parts: Sequence[ComparisonPart], evaluations: Sequence[Results]) -> list[Finding]:
    """pass@1 of two models on the problems both were asked, paired by problem."""
    by_label = {results.label: results for results in evaluations}
    findings = []
    for part in parts:
        better, worse = by_label[part.better].counts, by_label[part.worse].counts
        shared = sorted(set(better) & set(worse))
        if not shared:
            remedy = "compare models on the same problems file"
            raise InputError(part.claim, rule=f"{part.better} and {part.worse} share no problem", remedy=remedy)
        rates = [
            pass_at_k(a.num_samples, a.num_correct, 1) - pass_at_k(b.num_samples, b.num_correct, 1)
            for a, b in ((better[task], worse[task]) for task in shared)
        ]
        value, low, high = mean_interval(np.array(rates), draw_problems(len(rates), seed=_BOOTSTRAP_SEED))
        findings.append(
            Finding(f"{part.claim} (pass@1, {len(shared)} problems)", float(value), float(low), float(high))
        )
    return findings


def findings_section(findings: Sequence[Finding], not_reproduced: Sequence[str]) -> list[Html]:
    """Claims with what was seen of them, then what the run does not show, in words."""
    shown = []
    if findings:
        classes = {"seen": "good", "opposite": "bad", "not shown": ""}
        rows: list[list[Content]] = [
            [
                finding.claim,
                f"{100 * finding.value:+.1f} [{100 * finding.low:+.1f}, {100 * finding.high:+.1f}]",
                tag("mark", finding.outcome, class_=classes[finding.outcome]),
            ]
            for finding in findings
        ]
        shown.append(table(["claim", "difference, percentage points", "in this run"], rows))
    if not_reproduced:
        shown += [tag("h3", "What did not reproduce"), tag("ul", *(tag("li", line) for line in not_reproduced))]
    return shown


def _group_figures(evaluations: Sequence[Results], ks: Sequence[int]) -> Html:
    names = natural_order({group for results in evaluations for group in results.groups} - {ALL})
    if len(names) < 2:
        return Html("")
    places = {name: place for place, name in enumerate(names, 1)}
    drawn = []
    for k in ks:
        series = []
        for results in evaluations:
            present = [name for name in names if name in results.groups and k in results.k]
            counts = [{task: results.counts[task] for task in results.groups[name]} for name in present]
            found = [estimate_pass_at_k(count, k) for count in counts]
            x, y = [places[name] for name in present], [estimate.value for estimate in found]
            low, high = [estimate.low for estimate in found], [estimate.high for estimate in found]
            if present:
                series.append(Series(label=results.label, x=x, y=y, low=low, high=high, marker=True))
        caption = f"pass@{k}: " + ", ".join(f"{place} = {name}" for name, place in places.items())
        name = f"pass@{k} by group"
        svg = line_figure(series, name=name, x_label="group", y_label="", ticks=list(places.values()), percent=True)
        drawn.append((caption, svg))
    return figures(drawn)
