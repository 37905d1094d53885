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
    """Directory to write: ranking.json, ranking.svg, manifest.json."""
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
