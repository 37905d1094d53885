"""The section on how good the models are: pass@k by model and group of problems."""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markup import Content, Html, interval, table, tag
from megatron_codex.evaluation.report.results import ALL, Results, natural_order


def pass_at_k_section(evaluations: Sequence[Results], gallery: Gallery) -> list[Html]:
    """The table of pass@k by model and group, and pass@k by group as figures."""
    if not evaluations:
        return []
    ks = sorted({k for results in evaluations for k in results.k})
    rows: list[list[Content]] = []
    for results in evaluations:
        for group, tasks in results.groups.items():
            num_samples = sum(results.counts[task].num_samples for task in tasks)
            found = {k: results.pass_at_k(k, group) for k in results.k}
            cells = [interval(found[k].value, found[k].low, found[k].high) if k in found else None for k in ks]
            name = results.label if group == ALL else f"{results.label}, {group}"
            rows.append([name, len(tasks), num_samples, *cells])
    note = "95 % bootstrap intervals over problems. Samples on which the harness failed are in no count: "
    infra = ", ".join(f"{results.label} {results.verdicts['infra']}" for results in evaluations)
    head = ["model", "problems", "samples", *(f"pass@{k}" for k in ks)]
    return [
        table(head, rows),
        tag("p", f"{note}{infra}.", class_="soft"),
        gallery.show(_group_figures(evaluations, ks)),
    ]


def _group_figures(evaluations: Sequence[Results], ks: Sequence[int]) -> list[tuple[str, LineFigure]]:
    names = natural_order({group for results in evaluations for group in results.groups} - {ALL})
    if len(names) < 2:
        return []
    places = {name: place for place, name in enumerate(names, 1)}
    drawn = []
    for k in ks:
        series = []
        for results in evaluations:
            present = [name for name in names if name in results.groups and k in results.k]
            found = [results.pass_at_k(k, name) for name in present]
            x, y = [places[name] for name in present], [estimate.value for estimate in found]
            low, high = [estimate.low for estimate in found], [estimate.high for estimate in found]
            if present:
                series.append(Series(label=results.label, x=x, y=y, low=low, high=high, marker=True))
        caption = f"pass@{k}: " + ", ".join(f"{place} = {name}" for name, place in places.items())
        name = f"pass@{k} by group"
        ticks = list(places.values())
        figure = LineFigure(series=series, name=name, x_label="group", y_label="", ticks=ticks, percent=True)
        drawn.append((caption, figure))
    return drawn
