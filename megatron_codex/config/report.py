"""Configuration of ranking curves (tools/rerank.py) and of the report page (tools/report.py)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class RerankConfig:
    """Compare ways to choose one of k samples: random, sum log p, mean log p, back-translation, oracle."""

    results: Path
    """JSONL of results (samples with verdicts), as tools/evaluate.py writes it."""
    output: Path
    """Directory to write: ranking.json, ranking.svg, ranking.png, manifest.json."""
    k: tuple[int, ...] = ()
    """Numbers of samples to choose from; none: 1, 2, 5, 10, ... up to the fewest samples of a problem."""
    seed: int = 0
    """Seed of the bootstrap over problems."""
    docstring_checkpoint: Path | None = None
    """A Codex-D checkpoint: adds ranking by back-translation, P(docstring | sampled body). Needs problems."""
    problems: Path | None = None
    """JSONL of the problems that were sampled; needed for back-translation."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field="k", value=size, rule="must be at least 1", remedy="give positive counts")
            for size in self.k
            if size < 1
        ]
        if self.docstring_checkpoint is not None and self.problems is None:
            remedy = "give --problems with the sampled problems"
            faults.append(Fault(field="problems", rule="is required with docstring_checkpoint", remedy=remedy))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class TrainingPart:
    """A training run: its curves and its resolved config."""

    label: str
    """Name on the page."""
    path: Path
    """The run's output directory (metrics.jsonl, manifest.json)."""


@dataclass(frozen=True, kw_only=True)
class CountsPart:
    """Counts of a stage, from its manifest: files kept and dropped by reason, a funnel of problems."""

    label: str
    """Name on the page."""
    path: Path
    """The stage's output directory, manifest file or funnel.json."""


@dataclass(frozen=True, kw_only=True)
class EvaluationPart:
    """Judged samples of one model."""

    label: str
    """Name of the model on the page."""
    path: Path
    """JSONL of results, as tools/evaluate.py writes it."""
    problems: Path | None = None
    """JSONL of the problems; needed for group_by."""
    group_by: str = ""
    """Key of the problems' provenance that splits the table, for example chain_length; empty: no split."""
    k: tuple[int, ...] = ()
    """k of pass@k; none: those of 1, 10, 100 that there are samples for."""
    model: str = ""
    """Joins evaluations of one model at several temperatures into a sweep; empty: part of none."""
    temperature: float | None = None
    """Softmax temperature of the samples; needed with model."""


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """One JSON file of another stage: ranking.json or round_trip.json."""

    label: str
    """Name on the page."""
    path: Path
    """The file, or the directory that holds it."""


@dataclass(frozen=True, kw_only=True)
class ComparisonPart:
    """A claim that one model passes more than another on the same problems."""

    claim: str
    """The claim, as the page says it."""
    better: str
    """Label of the evaluation that should be higher."""
    worse: str
    """Label of the evaluation it is compared with."""
    k: int = 1
    """Samples of a problem of which one must pass: pass@k is compared."""


@dataclass(frozen=True, kw_only=True)
class ConvergencePart:
    """A claim that one training run comes to another's best held-out loss in fewer steps."""

    claim: str
    """The claim, as the page says it."""
    faster: str
    """Label of the training run that should be there sooner."""
    slower: str
    """Label of the training run whose best held-out loss is the mark."""


@dataclass(frozen=True, kw_only=True)
class ScalingPart:
    """Training runs of one recipe at several sizes: held-out loss over parameters, with a power law fitted to it."""

    label: str
    """Name on the page."""
    runs: tuple[Path, ...]
    """Training runs' output directories (manifest.json, metrics.jsonl with valid_loss), at least three sizes."""


@dataclass(frozen=True, kw_only=True)
class ReportParts:
    """What the page shows; paths are relative to the run folder."""

    title: str = "megatron_codex run"
    """Headline."""
    summary: str = ""
    """One paragraph under it."""
    counts: tuple[CountsPart, ...] = ()
    """Corpus counts and funnels, in this order."""
    training: tuple[TrainingPart, ...] = ()
    """Training runs."""
    evaluations: tuple[EvaluationPart, ...] = ()
    """Models with their results."""
    comparisons: tuple[ComparisonPart, ...] = ()
    """Claims tested on the evaluations."""
    convergences: tuple[ConvergencePart, ...] = ()
    """Claims tested on the held-out losses of the training runs."""
    rankings: tuple[FilePart, ...] = ()
    """Outputs of tools/rerank.py."""
    round_trips: tuple[FilePart, ...] = ()
    """Outputs of tools/grade_docstrings.py."""
    scaling: tuple[ScalingPart, ...] = ()
    """Families of models that differ in size."""
    lineage: tuple[Path, ...] = ()
    """Further output directories or manifest files whose origin the page shows."""
    not_reproduced: tuple[str, ...] = ()
    """What the run does not show, in words."""
    samples_shown: int = 24
    """Samples of each evaluation on the page, spread over problems and verdicts."""

    def __post_init__(self) -> None:
        faults = [*self._label_faults(), *self._claim_faults(), *self._evaluation_faults()]
        for family in self.scaling:
            if len(family.runs) < 3:
                rule, remedy = "must name at least 3 runs", "a power law has two free numbers: give three sizes or more"
                faults.append(Fault(field="scaling", value=family.label, rule=rule, remedy=remedy))
        if self.samples_shown < 0:
            rule, remedy = "must be 0 or more", "0 shows none"
            faults.append(Fault(field="samples_shown", value=self.samples_shown, rule=rule, remedy=remedy))
        raise_faults(faults)

    def _label_faults(self) -> list[Fault]:
        faults = []
        for field in ("counts", "training", "evaluations", "rankings", "round_trips", "scaling"):
            labels = [part.label for part in getattr(self, field)]
            faults += [
                Fault(field=field, value=label, rule="two have this label", remedy="give each its own")
                for label in sorted({label for label in labels if labels.count(label) > 1})
            ]
        return faults

    def _claim_faults(self) -> list[Fault]:
        named = [
            ("comparisons", "evaluations", label) for part in self.comparisons for label in (part.better, part.worse)
        ]
        named += [
            ("convergences", "training", label) for part in self.convergences for label in (part.faster, part.slower)
        ]
        faults = []
        for field, others, label in named:
            labels = [part.label for part in getattr(self, others)]
            if label not in labels:
                rule, remedy = f"is no label in {others}", f"labels: {', '.join(labels) or 'none'}"
                faults.append(Fault(field=field, value=label, rule=rule, remedy=remedy, others=(others,)))
        faults += [
            Fault(field="comparisons", value=f"k = {part.k}", rule="k must be at least 1", remedy="give 1 or more")
            for part in self.comparisons
            if part.k < 1
        ]
        return faults

    def _evaluation_faults(self) -> list[Fault]:
        faults = []
        for evaluation in self.evaluations:
            if evaluation.group_by and evaluation.problems is None:
                rule, remedy = "group_by needs problems", "give the problems file"
                faults.append(Fault(field="evaluations", value=evaluation.label, rule=rule, remedy=remedy))
            if evaluation.model and evaluation.temperature is None:
                rule, remedy = "model needs temperature", "give the temperature of its samples"
                faults.append(Fault(field="evaluations", value=evaluation.label, rule=rule, remedy=remedy))
        return faults


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Write one self-contained HTML page of a run: lineage, losses, funnels, pass@k, ranking, round trip, samples."""

    run: Path
    """Run folder; RUN/report.yaml lists the parts unless the parts section is given otherwise (--config)."""
    output: Path
    """HTML file to write."""
    figures: Path | None = None
    """Directory to write as well: each figure of the page as SVG and PNG."""
    markdown: Path | None = None
    """File to write as well: the page's scores, claims and losses as Markdown tables, a column for each run."""
    compare: tuple[Path, ...] = ()
    """Other run folders, with the same labels (other seeds, other recipes), shown beside this one; each has its
    own report.yaml, or the parts of this one."""
    parts: ReportParts | None = None
    """What the page shows; none: read from RUN/report.yaml."""
