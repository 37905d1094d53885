"""The section on contamination: pass@k on problems that the training corpus was found to hold, and on the others.

In: results judged with a corpus's ledger (tools/evaluate.py --ledger), which have both scores in their manifests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from megatron_codex.config.report import EvaluationPart
from megatron_codex.evaluation.report.markup import Content, Html, interval, table, tag
from megatron_codex.evaluation.report.stages import find_manifest

_GROUPS = {"clean": "not in the corpus", "contaminated": "in the corpus"}
_NOTE = "By the corpus's own ledger of what its decontamination found. Difference: contaminated minus clean."


def contamination_section(parts: Sequence[EvaluationPart]) -> list[Html]:
    """A row for each evaluation and group; nothing where no evaluation was given a ledger."""
    rows: list[list[Content]] = []
    ks: list[str] = []
    for part in parts:
        manifest = find_manifest(part.path) or {}
        summary = manifest.get("summary", {})
        if "contaminated" not in summary:
            continue
        ks = ks or [key for key in summary["clean"] if key.startswith("pass@") and not key.endswith("_ci95")]
        for group, words in _GROUPS.items():
            scores = summary[group]
            cells = [_cell(scores, k) for k in ks]
            rows.append([f"{part.label}, {words}", scores["num_problems"], *cells])
        cells = [_cell(summary["contaminated_minus_clean"], k) for k in ks]
        rows.append([f"{part.label}, difference", None, *cells])
    return [table(["", "problems", *ks], rows), tag("p", _NOTE, class_="soft")] if rows else []


def _cell(scores: dict[str, Any], k: str) -> Content:
    if scores.get(k) is None:
        return None
    return interval(scores[k], *scores[f"{k}_ci95"])
