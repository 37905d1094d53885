"""Ranking as a stage: results in, a directory with ranking.json, ranking.svg, ranking.png and manifest.json out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from megatron_codex.config.report import RerankConfig
from megatron_codex.evaluation.figures import LineFigure, Series
from megatron_codex.evaluation.reranking import ranking_curves
from megatron_codex.files import atomic_directory, atomic_file
from megatron_codex.manifest import write_manifest


def write_ranking(config: RerankConfig, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Rank `rows` (those of config.results, with scores added where there are any), write config.output, return the
    curves. Raises: InputError as ranking_curves, or when the output exists."""
    started_at = time.time()
    report = {**ranking_curves(rows, k=config.k, seed=config.seed), "results": str(config.results)}
    inputs = [path for path in (config.results, config.problems) if path is not None]
    with atomic_directory(config.output) as directory:
        with atomic_file(directory / "ranking.json", "w") as handle:
            json.dump(report, handle, indent=2)
        ranking_figure(report, name="ranking").save(directory / "ranking")
        counts = {"problems": report["num_problems"], "samples": report["num_samples"]}
        counts["left_out_infra"] = report["left_out_infra"]
        write_manifest(
            directory, command="rerank.py", config=config, inputs=inputs, counts=counts, started_at=started_at
        )
    return report


def ranking_figure(report: dict[str, Any], *, name: str) -> LineFigure:
    """Pass rate over k of every ranker."""
    series = [
        Series(
            label=curve["ranker"],
            x=report["k"],
            y=curve["pass_rate"],
            low=curve["low"],
            high=curve["high"],
            marker=True,
        )
        for curve in report["curves"]
    ]
    return LineFigure(
        series=series,
        name=name,
        x_label="samples to choose from, k",
        y_label="problems solved by the choice",
        ticks=report["k"],
        log_x=True,
        percent=True,
    )
