"""The section on models of several sizes: held-out loss over parameters, and how well a power law fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.report import ScalingPart
from megatron_codex.errors import InputError
from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markup import Content, Html, table, tag
from megatron_codex.evaluation.report.metrics import Metrics
from megatron_codex.evaluation.scaling_law import PowerLaw, fit_power_law
from megatron_codex.manifest import read_manifest

_NOTE = (
    "Parameters without embeddings. The paper's law for Codex (its figure 4), on another corpus and other sizes: "
    "(N / 5.92e7) ^ -0.13."
)


@dataclass(frozen=True)
class _Size:
    name: str
    num_parameters: int
    """Without embeddings."""
    loss: float
    """Held-out, nats per token, at the run's best evaluation."""


def scaling_section(parts: Sequence[ScalingPart], metrics: Metrics, gallery: Gallery) -> list[Html]:
    """A figure and a table of each family."""
    shown: list[Html] = []
    for part in parts:
        sizes = sorted((_size(run, metrics) for run in part.runs), key=lambda size: size.num_parameters)
        if sizes[0].num_parameters == sizes[-1].num_parameters:
            rule, remedy = "its runs are all of one size", "give runs of several sizes"
            raise InputError(f"scaling: {part.label}", rule=rule, remedy=remedy)
        law = fit_power_law([size.num_parameters for size in sizes], [size.loss for size in sizes])
        figure = _figure(part.label, sizes, law)
        shown += [tag("h3", part.label), gallery.show([("Held-out loss by size", figure)]), _table(sizes, law)]
    return [tag("p", _NOTE, class_="soft"), *shown] if shown else []


def _size(run: Path, metrics: Metrics) -> _Size:
    shape = read_manifest(run)["config"].get("model")
    if not isinstance(shape, dict):
        raise InputError(f"scaling: {run}", rule="its manifest has no model", remedy="give training runs")
    losses = [loss for _, loss in metrics.held_out_losses(run)]
    if not losses:
        rule, remedy = "has no valid_loss", "train it with data.valid_problems or a held-out split"
        raise InputError(str(run / "metrics.jsonl"), rule=rule, remedy=remedy)
    model = build_config(ModelConfig, {key: value for key, value in shape.items() if value is not None})
    return _Size(name=run.name, num_parameters=model.num_layer_parameters, loss=min(losses))


def _figure(label: str, sizes: Sequence[_Size], law: PowerLaw | None) -> LineFigure:
    x = [size.num_parameters for size in sizes]
    series = [Series(label="measured", x=x, y=[size.loss for size in sizes], marker=True, line=False)]
    if law is not None:
        series.append(Series(label=_in_words(law), x=x, y=[law.loss(count) for count in x]))
    x_label, y_label = "parameters without embeddings", "nats per token"
    return LineFigure(series=series, name=f"scaling: {label}", x_label=x_label, y_label=y_label, log_x=True, log_y=True)


def _table(sizes: Sequence[_Size], law: PowerLaw | None) -> Html:
    residuals = law.residuals if law else [math.nan] * len(sizes)
    rows: list[list[Content]] = [
        [size.name, size.num_parameters, f"{size.loss:.4f}", f"{100 * residual:+.2f} %"]
        for size, residual in zip(sizes, residuals, strict=True)
    ]
    return table(["run", "parameters", "held-out loss", "above the law"], rows)


def _in_words(law: PowerLaw) -> str:
    return f"(N / {math.exp(law.log_critical):.3g}) ^ {-law.alpha:.3g}"
