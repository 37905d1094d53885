"""The section on temperature: pass@k of each model over the temperatures it was sampled at, and the best for each k.

Paper section 3.3 (figure 5): the best temperature rises with k.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from megatron_codex.config.report import EvaluationPart
from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markup import Content, Html, interval, table, tag
from megatron_codex.evaluation.report.results import Results

_NOTE = "The best is chosen on the problems that are shown: as a result of its own it would be too good."

_Sweep = list[tuple[float, Results]]


def temperature_section(
    parts: Sequence[EvaluationPart], evaluations: Sequence[Results], gallery: Gallery
) -> list[Html]:
    """A figure and a table of each model with two temperatures or more. evaluations: those of `parts`, in order."""
    sweeps: dict[str, _Sweep] = defaultdict(list)
    for part, results in zip(parts, evaluations, strict=True):
        if part.model and part.temperature is not None:
            sweeps[part.model].append((part.temperature, results))
    shown: list[Html] = []
    for model, unsorted in sweeps.items():
        sweep = sorted(unsorted, key=lambda point: point[0])
        ks = sorted(set.intersection(*(set(results.k) for _, results in sweep)))
        if len({temperature for temperature, _ in sweep}) > 1 and ks:
            figure = _figure(model, sweep, ks)
            shown += [tag("h3", model), gallery.show([("pass@k by temperature", figure)]), _best(sweep, ks)]
    return [*shown, tag("p", _NOTE, class_="soft")] if shown else []


def _figure(model: str, sweep: _Sweep, ks: Sequence[int]) -> LineFigure:
    temperatures = [temperature for temperature, _ in sweep]
    series = []
    for k in ks:
        found = [results.pass_at_k(k) for _, results in sweep]
        low, high = [estimate.low for estimate in found], [estimate.high for estimate in found]
        y = [estimate.value for estimate in found]
        series.append(Series(label=f"pass@{k}", x=temperatures, y=y, low=low, high=high, marker=True))
    name = f"temperatures: {model}"
    return LineFigure(series=series, name=name, x_label="temperature", y_label="", ticks=temperatures, percent=True)


def _best(sweep: _Sweep, ks: Sequence[int]) -> Html:
    rows: list[list[Content]] = []
    for k in ks:
        found = [(results.pass_at_k(k), temperature) for temperature, results in sweep]
        best, temperature = max(found, key=lambda pair: pair[0].value)
        rows.append([f"pass@{k}", f"{temperature:g}", interval(best.value, best.low, best.high)])
    return table(["", "best temperature", "there"], rows)
