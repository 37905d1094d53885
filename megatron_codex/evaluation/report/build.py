"""From the parts of a run to its page.

In: a ReportConfig (parts with paths relative to the run folder). Out: one HTML file that needs nothing else.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from megatron_codex.config.load import load_config
from megatron_codex.config.report import ReportConfig, ReportParts
from megatron_codex.errors import InputError
from megatron_codex.evaluation.report.markup import Html, section, tag
from megatron_codex.evaluation.report.page import render_page
from megatron_codex.evaluation.report.results import read_results
from megatron_codex.evaluation.report.samples import samples_section
from megatron_codex.evaluation.report.scores import (
    compare,
    findings_section,
    pass_at_k_section,
    ranking_section,
    round_trip_section,
)
from megatron_codex.evaluation.report.stages import counts_section, lineage_section, training_section
from megatron_codex.files import atomic_file

PARTS_NAME = "report.yaml"


def write_report(config: ReportConfig) -> Path:
    """Write config.output and return its path.

    Raises: InputError naming the file for a part that is missing or not what it should be; nothing is written then.
    """
    if not config.run.is_dir():
        raise InputError(str(config.run), rule="no such run folder", remedy="check --run")
    parts = config.parts or load_config(ReportParts, config.run / PARTS_NAME)
    page = render_report(_under(parts, config.run), run=config.run)
    with atomic_file(config.output, "w") as handle:
        handle.write(page)
    return config.output


def render_report(parts: ReportParts, *, run: Path) -> str:
    """The page of these parts; their paths are absolute or relative to here."""
    evaluations = [read_results(part) for part in parts.evaluations]
    ranking, ranking_findings = ranking_section(parts.rankings)
    findings = [*compare(parts.comparisons, evaluations), *ranking_findings]
    summary = tag("p", parts.summary) if parts.summary else Html("")
    outputs = [
        *(part.path for part in parts.counts),
        *(part.path for part in parts.training),
        *(part.path for part in parts.evaluations),
    ]
    others = [part.path if part.path.is_dir() else part.path.parent for part in (*parts.rankings, *parts.round_trips)]
    lineage = list(dict.fromkeys([*outputs, *others, *parts.lineage]))
    return render_page(
        parts.title,
        [
            tag("header", tag("h1", parts.title), summary),
            section("Results", *pass_at_k_section(evaluations)),
            section("Claims of the paper in this run", *findings_section(findings, parts.not_reproduced)),
            section("Choosing one of k samples", *ranking),
            section("Docstring round trip", *round_trip_section(parts.round_trips)),
            section("Training", *training_section(parts.training)),
            section("Data and funnels", *counts_section(parts.counts)),
            section("Samples", *samples_section(evaluations, number=parts.samples_shown)),
            section("Lineage", *lineage_section(lineage, run=run)),
        ],
    )


def _under(parts: ReportParts, run: Path) -> ReportParts:
    """The same parts with every path taken from the run folder."""

    def moved(part: Any) -> Any:
        paths = {
            field.name: run / value
            for field in dataclasses.fields(part)
            if isinstance(value := getattr(part, field.name), Path)
        }
        return dataclasses.replace(part, **paths)

    lists = ("counts", "training", "evaluations", "rankings", "round_trips")
    changes: dict[str, Any] = {name: tuple(moved(part) for part in getattr(parts, name)) for name in lists}
    return dataclasses.replace(parts, **changes, lineage=tuple(run / path for path in parts.lineage))
