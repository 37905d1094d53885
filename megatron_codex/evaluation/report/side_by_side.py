"""The section that shows several runs side by side: the same parts, by label, of other seeds or recipes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.report import ReportParts
from megatron_codex.evaluation.figures import LineFigure
from megatron_codex.evaluation.report.claims import Finding, Tested, seen_in
from megatron_codex.evaluation.report.convergence import Convergence
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markup import Content, Html, join, table, tag
from megatron_codex.evaluation.report.metrics import Metrics
from megatron_codex.evaluation.report.results import Results
from megatron_codex.evaluation.report.stages import loss_curve


@dataclass(frozen=True, kw_only=True)
class RunParts:
    """One run, read."""

    name: str
    parts: ReportParts
    """Its paths are absolute, or relative to here."""
    evaluations: Sequence[Results]
    findings: Sequence[Finding]
    convergences: Sequence[Convergence]
    metrics: Metrics
    """Of the training runs, each read once for the whole page."""

    @property
    def tested(self) -> dict[str, Tested]:
        """What the run says of each claim."""
        claims: list[Tested] = [*self.findings, *self.convergences]
        return {tested.claim: tested for tested in claims}


def side_by_side_section(runs: Sequence[RunParts], gallery: Gallery) -> list[Html]:
    """Scores, claims and losses that two runs or more have in common; nothing for one run."""
    if len(runs) < 2:
        return []
    return [_scores(runs), _claims(runs), gallery.show(_losses(runs))]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Names that tell the runs apart: of the folder, or as much of its path as that takes."""
    for depth in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {folder}" for number, folder in enumerate(folders, 1)]


def _scores(runs: Sequence[RunParts]) -> Html:
    rows: list[list[Content]] = []
    for label in _labels(runs, lambda run: [results.label for results in run.evaluations]):
        found = [{results.label: results for results in run.evaluations}.get(label) for run in runs]
        for k in sorted({k for results in found if results for k in results.k}):
            values = [results.pass_at_k(k).value if results and k in results.k else None for results in found]
            rows.append([f"{label}, pass@{k}", *map(_percent, values), *_spread(values)])
    return table(["", *(run.name for run in runs), "mean", "lowest to highest"], rows) if rows else Html("")


def _claims(runs: Sequence[RunParts]) -> Html:
    rows: list[list[Content]] = []
    for claim in _labels(runs, lambda run: [finding.claim for finding in run.findings]):
        found = [{finding.claim: finding for finding in run.findings}.get(claim) for run in runs]
        cells = [join([Html(finding.difference), finding.mark()]) if finding else None for finding in found]
        rows.append([claim, *cells, seen_in(found)])
    if not rows:
        return Html("")
    return join([tag("h3", "Claims"), table(["claim", *(run.name for run in runs), "seen in"], rows)])


def _losses(runs: Sequence[RunParts]) -> list[tuple[str, LineFigure]]:
    drawn = []
    for label in _labels(runs, lambda run: [part.label for part in run.parts.training]):
        series = [
            loss_curve(run.metrics.of(part.path), label=run.name)
            for run in runs
            for part in run.parts.training
            if part.label == label
        ]
        figure = LineFigure(series=series, name=f"runs: {label}", x_label="step", y_label="")
        drawn.append((f"{label}: loss per token (nats)", figure))
    return drawn


def _labels(runs: Sequence[RunParts], of_run: Callable[[RunParts], list[str]]) -> list[str]:
    """Those that two runs or more have, in the order of the first that has them."""
    found = [label for run in runs for label in dict.fromkeys(of_run(run))]
    return [label for label in dict.fromkeys(found) if found.count(label) > 1]


def _percent(value: float | None) -> Content:
    return None if value is None else f"{value:.1%}"


def _spread(values: Sequence[float | None]) -> list[Content]:
    known = [value for value in values if value is not None]
    return [_percent(statistics.fmean(known)), f"{min(known):.1%} to {max(known):.1%}"]
