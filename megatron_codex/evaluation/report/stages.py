"""Sections on where the run comes from: counts of stages, training curves, lineage."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_codex.config.report import CountsPart, TrainingPart
from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.json_file import read_json
from megatron_codex.evaluation.report.markup import Content, Html, details, join, share_bar, table, tag
from megatron_codex.evaluation.report.metrics import Metrics, Steps
from megatron_codex.manifest import MANIFEST_NAME, read_manifest

FUNNEL_NAME, FUNNEL_FORMAT = "funnel.json", "megatron_codex/funnel/1"

_MAX_POINTS = 300
"""Of a curve; longer ones are averaged over equal spans of steps, or the page would grow with the run."""

_CURVES = (
    ("Loss per token (nats)", ("loss", "valid_loss")),
    ("Learning rate", ("lr",)),
    ("Gradient norm before clipping", ("grad_norm",)),
    ("Tokens per second", ("tokens_per_s",)),
)
_NAMES = {"loss": "training", "valid_loss": "held out"}


def counts_section(parts: Sequence[CountsPart]) -> list[Html]:
    """A table of each stage's counts, with bars relative to the largest of its group."""
    shown = []
    for part in parts:
        shown.append(tag("h3", part.label))
        shown += [_counts_table(name, group) for name, group in _count_groups(part.path).items()]
    return shown


def training_section(parts: Sequence[TrainingPart], metrics: Metrics, gallery: Gallery) -> list[Html]:
    """Curves of each training run."""
    shown = []
    for part in parts:
        rows = metrics.of(part.path)
        drawn = []
        for caption, keys in _CURVES:
            series = [_curve(rows, key) for key in keys if any(row.get(key) is not None for row in rows)]
            if series:
                name = f"{part.label}: {caption}"
                drawn.append((caption, LineFigure(series=series, name=name, x_label="step", y_label="")))
        shown += [tag("h3", part.label), tag("p", _last_line(rows), class_="soft"), gallery.show(drawn)]
    return shown


def loss_curve(rows: Steps, *, label: str) -> Series:
    """A run's training loss."""
    return dataclasses.replace(_curve(rows, "loss"), label=label)


def lineage_section(paths: Sequence[Path], *, run: Path) -> list[Html]:
    """Each output's command, time, inputs with hashes and resolved config; outputs are named from the run folder."""
    if not paths:
        return []
    rows: list[list[Content]] = []
    configs: list[Html] = []
    versions: dict[str, str] = {}
    for path in paths:
        name = os.path.relpath(path, run)
        manifest = find_manifest(path)
        if manifest is None:
            rows.append([name, "no manifest: made by other tools", None, None, None])
            continue
        inputs = [f"{Path(source).name} {value['sha256'][:12]}" for source, value in manifest["inputs"].items()]
        shown = ", ".join(inputs[:6]) + (f" and {len(inputs) - 6} more" if len(inputs) > 6 else "")
        rows.append([name, manifest["command"], manifest["started_at"], f"{manifest['seconds']:,.0f} s", shown])
        configs.append(details(f"{name}: resolved config", tag("pre", json.dumps(manifest["config"], indent=2))))
        versions |= manifest["versions"]
    return [
        table(["output", "command", "started", "took", "inputs (SHA-256)"], rows, kind="text"),
        tag("p", ", ".join(f"{package} {version}" for package, version in versions.items()), class_="soft"),
        join(configs),
    ]


def find_manifest(path: Path) -> dict[str, Any] | None:
    """As manifest_of, or None where there is none."""
    return manifest_of(path) if _manifest_path(path).is_file() else None


def manifest_of(path: Path) -> dict[str, Any]:
    """The manifest in a directory, at a path, or beside a file (FILE.manifest.json; a funnel's: its directory's)."""
    found = _manifest_path(path)
    return read_manifest(found.parent, found.name)


def _manifest_path(path: Path) -> Path:
    if path.is_dir():
        return path / MANIFEST_NAME
    if path.name == FUNNEL_NAME:
        return path.with_name(MANIFEST_NAME)
    return path if path.name.endswith(MANIFEST_NAME) else path.with_name(f"{path.name}.{MANIFEST_NAME}")


def _count_groups(path: Path) -> dict[str, Mapping[str, Any]]:
    """Named groups of counts: of a manifest, or of a funnel with what was dropped on the way to each stage."""
    if path.is_dir() or path.name != FUNNEL_NAME:
        content = manifest_of(path)
        dropped: Mapping[str, Any] = {}
    else:
        content = read_json(path, FUNNEL_FORMAT)
        dropped = content["dropped"]
    counts = content["counts"]
    plain = {name: value for name, value in counts.items() if not isinstance(value, Mapping)}
    groups = {name: value for name, value in counts.items() if isinstance(value, Mapping)}
    lost = {f"dropped before: {stage}": reasons for stage, reasons in dropped.items()}
    return {**({"": plain} if plain else {}), **groups, **lost}


def _counts_table(name: str, counts: Mapping[str, Any]) -> Html:
    numbers = {key: value for key, value in counts.items() if isinstance(value, (int, float))}
    largest = max((abs(value) for value in numbers.values()), default=1)
    rows: list[list[Content]] = [
        [key.replace("_", " "), value, share_bar(abs(value) / (largest or 1))] for key, value in numbers.items()
    ]
    return table([name.replace("_", " "), "count", ""], rows)


def _curve(rows: Steps, key: str) -> Series:
    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    averaged = list(_averaged(points))
    return Series(
        label=_NAMES.get(key, key),
        x=[step for step, _ in averaged],
        y=[value for _, value in averaged],
        marker=key == "valid_loss",
    )


def _averaged(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    size = -(-len(points) // _MAX_POINTS)
    for start in range(0, len(points), size):
        steps, values = zip(*points[start : start + size], strict=True)
        yield statistics.fmean(steps), statistics.fmean(values)


def _last_line(rows: Steps) -> str:
    last = rows[-1]
    tokens = sum(row.get("num_tokens") or 0 for row in rows)
    held_out = [row["valid_loss"] for row in rows if row.get("valid_loss") is not None]
    end = f", held-out loss {held_out[-1]:.3f}" if held_out else ""
    return f"{last['step']:,} steps, {tokens:,} tokens in the loss; last training loss {last['loss']:.3f}{end}"
