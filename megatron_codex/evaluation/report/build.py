"""From the parts of a run to its page.

In: a ReportConfig (parts with paths relative to the run folder). Out: one HTML file that needs nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_codex.config.load import load_config
from megatron_codex.config.report import ReportConfig, ReportParts
from megatron_codex.errors import InputError
from megatron_codex.evaluation.report.choosing import ranking_section, round_trip_section
from megatron_codex.evaluation.report.claims import compare, compare_rankings, findings_section
from megatron_codex.evaluation.report.contaminated import contamination_section
from megatron_codex.evaluation.report.convergence import converge, convergence_section
from megatron_codex.evaluation.report.gallery import Gallery
from megatron_codex.evaluation.report.markdown import markdown
from megatron_codex.evaluation.report.markup import tag
from megatron_codex.evaluation.report.metrics import Metrics
from megatron_codex.evaluation.report.page import Section, render_page
from megatron_codex.evaluation.report.results import read_results
from megatron_codex.evaluation.report.samples import samples_section
from megatron_codex.evaluation.report.scaling import scaling_section
from megatron_codex.evaluation.report.scores import pass_at_k_section
from megatron_codex.evaluation.report.side_by_side import RunParts, run_names, side_by_side_section
from megatron_codex.evaluation.report.stages import counts_section, lineage_section, training_section
from megatron_codex.evaluation.report.temperatures import temperature_section
from megatron_codex.files import atomic_directory, atomic_file

PARTS_NAME = "report.yaml"


def write_report(config: ReportConfig) -> Path:
    """Write config.output (and config.markdown, and config.figures, which must not exist); the page's path.

    Raises: InputError naming the file for a part that is missing or not what it should be; nothing is written then.
    """
    folders = [config.run, *config.compare]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(str(folder), rule="no such run folder", remedy="check --run and --compare")
    names = run_names([folder.resolve() for folder in folders])
    parts = config.parts or load_config(ReportParts, config.run / PARTS_NAME)
    metrics = Metrics()
    runs = [_read(config.run, names[0], parts, metrics)]
    for folder, name in zip(config.compare, names[1:], strict=True):
        own = folder / PARTS_NAME
        runs.append(_read(folder, name, load_config(ReportParts, own) if own.is_file() else parts, metrics))
    gallery = Gallery()
    page = _render(runs, gallery, folder=config.run)
    tables = markdown(runs)
    if config.figures is not None:
        with atomic_directory(config.figures) as directory:
            gallery.save(directory)
    if config.markdown is not None:
        with atomic_file(config.markdown, "w") as handle:
            handle.write(tables)
    with atomic_file(config.output, "w") as handle:
        handle.write(page)
    return config.output


def _read(folder: Path, name: str, parts: ReportParts, metrics: Metrics) -> RunParts:
    parts = _under(parts, folder)
    evaluations = [read_results(part) for part in parts.evaluations]
    findings = [*compare(parts.comparisons, evaluations), *compare_rankings(parts.rankings)]
    return RunParts(
        name=name,
        parts=parts,
        evaluations=evaluations,
        findings=findings,
        convergences=converge(parts.convergences, parts.training, metrics),
        metrics=metrics,
    )


def _render(runs: Sequence[RunParts], gallery: Gallery, *, folder: Path) -> str:
    """The page of the first run, with the others beside it."""
    run, parts = runs[0], runs[0].parts
    return render_page(
        parts.title,
        [tag("p", parts.summary)] if parts.summary else [],
        [
            Section("Results", pass_at_k_section(run.evaluations, gallery)),
            Section("Temperature", temperature_section(parts.evaluations, run.evaluations, gallery)),
            Section("Claims of the paper in this run", findings_section(run.findings, parts.not_reproduced)),
            Section("Runs side by side", side_by_side_section(runs, gallery)),
            Section("Choosing one of k samples", ranking_section(parts.rankings, gallery)),
            Section("Docstring round trip", round_trip_section(parts.round_trips)),
            Section("Contamination", contamination_section(parts.evaluations)),
            Section("Model size", scaling_section(parts.scaling, run.metrics, gallery)),
            Section(
                "Training",
                [*convergence_section(run.convergences), *training_section(parts.training, run.metrics, gallery)],
            ),
            Section("Data and funnels", counts_section(parts.counts)),
            Section("Samples", samples_section(run.evaluations, number=parts.samples_shown)),
            Section("Lineage", lineage_section(_outputs(parts), run=folder)),
        ],
        with_script=True,
    )


def _outputs(parts: ReportParts) -> list[Path]:
    """What the page shows the origin of, each once."""
    shown = [
        *(part.path for part in parts.counts),
        *(part.path for part in parts.training),
        *(part.path for part in parts.evaluations),
    ]
    files = [part.path for part in (*parts.rankings, *parts.round_trips)]
    others = [path if path.is_dir() else path.parent for path in files]
    sizes = [run for part in parts.scaling for run in part.runs]
    return list(dict.fromkeys([*shown, *others, *sizes, *parts.lineage]))


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
    changes["scaling"] = tuple(
        dataclasses.replace(part, runs=tuple(run / path for path in part.runs)) for part in parts.scaling
    )
    return dataclasses.replace(parts, **changes, lineage=tuple(run / path for path in parts.lineage))
