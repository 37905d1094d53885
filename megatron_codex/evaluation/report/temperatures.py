"""The section on temperature: pass@k of each model over the temperatures it was sampled at, and the best for each k.

Paper section 3.3 (figure 5): the best temperature rises with k.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from megatron_codex.config.report import EvaluationPart
from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.pass_at_k import Estimate
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markup import Content, Html, interval, table, tag
from megatron_codex.evaluation.report.results import Results

_NOTE = "The best is chosen on the problems that are shown: as a result of its own it would be too good."

_Sweep = list[tuple[float, Results]]


@dataclass(frozen=True, kw_only=True)
class BestTemperature:
    """Where a model's pass@k was largest."""

    model: str
    k: int
    temperature: float
    there: Estimate


def temperature_section(
    parts: Sequence[EvaluationPart], evaluations: Sequence[Results], gallery: Gallery
) -> list[Html]:
    """A figure and a table of each model with two temperatures or more. evaluations: those of `parts`, in order."""
    shown: list[Html] = []
    for model, sweep, ks in _sweeps(parts, evaluations):
        figure = _figure(model, sweep, ks)
        rows: list[list[Content]] = [
            [f"pass@{best.k}", f"{best.temperature:g}", interval(best.there.value, best.there.low, best.there.high)]
            for best in _best(model, sweep, ks)
        ]
        named = table(["", "best temperature", "there"], rows)
        shown += [tag("h3", model), gallery.show([("pass@k by temperature", figure)]), named]
    return [*shown, tag("p", _NOTE, class_="soft")] if shown else []


def best_temperatures(parts: Sequence[EvaluationPart], evaluations: Sequence[Results]) -> list[BestTemperature]:
    """Of each model with two temperatures or more, for each k. evaluations: those of `parts`, in order."""
    return [best for model, sweep, ks in _sweeps(parts, evaluations) for best in _best(model, sweep, ks)]


def _sweeps(
    parts: Sequence[EvaluationPart], evaluations: Sequence[Results]
) -> Iterator[tuple[str, _Sweep, Sequence[int]]]:
    """Models with two temperatures or more: their results by rising temperature, and the k that all of them have."""
    found: dict[str, _Sweep] = defaultdict(list)
    for part, results in zip(parts, evaluations, strict=True):
        if part.model and part.temperature is not None:
            found[part.model].append((part.temperature, results))
    for model, unsorted in found.items():
        sweep = sorted(unsorted, key=lambda point: point[0])
        ks = sorted(set.intersection(*(set(results.k) for _, results in sweep)))
        if len({temperature for temperature, _ in sweep}) > 1 and ks:
            yield model, sweep, ks


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


def _best(model: str, sweep: _Sweep, ks: Sequence[int]) -> list[BestTemperature]:
    found = []
    for k in ks:
        there, temperature = max(
            ((results.pass_at_k(k), temperature) for temperature, results in sweep), key=lambda pair: pair[0].value
        )
        found.append(BestTemperature(model=model, k=k, temperature=temperature, there=there))
    return found
