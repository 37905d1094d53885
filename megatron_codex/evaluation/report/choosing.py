"""Sections on samples that are chosen or go round: ranking curves, and the docstring round trip."""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.config.report import FilePart
from megatron_codex.evaluation.rank_samples import ranking_figure
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.json_file import read_json
from megatron_codex.evaluation.report.markup import Content, Html, interval, table, tag
from megatron_codex.evaluation.reranking import FORMAT as RANKING_FORMAT
from megatron_codex.evaluation.round_trip import FORMAT as ROUND_TRIP_FORMAT


def ranking_section(parts: Sequence[FilePart], gallery: Gallery) -> list[Html]:
    """Curves of each ranking file."""
    drawn = []
    for part in parts:
        report = read_json(part.path, RANKING_FORMAT, name="ranking.json")
        drawn.append((part.label, ranking_figure(report, name=f"ranking: {part.label}")))
    return [gallery.show(drawn)]


def round_trip_section(parts: Sequence[FilePart]) -> list[Html]:
    """The table of each round trip's arms."""
    shown = []
    for part in parts:
        report = read_json(part.path, ROUND_TRIP_FORMAT, name="round_trip.json")
        rows: list[list[Content]] = [
            [arm["arm"], interval(arm["pass_rate"], arm["low"], arm["high"])] for arm in report["arms"]
        ]
        if "bleu" in report:
            rows.append([f"BLEU against the true docstring ({report.get('bleu_kind', '')})", f"{report['bleu']:.3f}"])
            correlation = report.get("bleu_correlation")
            words = "one of them is constant" if correlation is None else f"{correlation:+.3f}"
            rows.append(["correlation of a docstring's BLEU with its code's pass rate (Pearson's r)", words])
        rows.append(["samples without a readable docstring (count as failed)", report["without_docstring"]])
        shown += [tag("h3", part.label), table(["code written from the", "passes its tests"], rows)]
    note = "An addition of this project: docstring → code → unit tests. The paper grades docstrings by hand."
    return [tag("p", note, class_="soft"), *shown] if shown else []
