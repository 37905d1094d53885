"""Scores of problems that the training corpus was found to hold, and of the others.

In: the ledger of a corpus build (contamination.jsonl, docs/data.md), counts of each task. Out: pass@k of the tasks that
it names, of those that it does not, and the difference, each with its interval.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.evaluation.pass_at_k import TaskCount, estimate_difference
from megatron_codex.evaluation.summary import Summary, pass_at_ks
from megatron_codex.files import require_file
from megatron_codex.jsonl import read_numbered_jsonl

_logger = logging.getLogger(__name__)

_MAX_SHOWN = 10


def contaminated_tasks(ledger: Path, tasks: Iterable[str]) -> tuple[set[str], list[str]]:
    """(those of `tasks` that the ledger names, the names in it that are none of them). tasks: of the problems file.

    The case of letters does not count, since MBPP's problems are "MBPP/2" and "Mbpp/2". An empty ledger is one of a
    corpus that holds no problem. Raises: InputError naming the ledger's line that has no task_id.
    """
    known = {task.casefold(): task for task in tasks}
    found: dict[str, str | None] = {}
    for number, row in _rows(ledger):
        name = row.get("task_id")
        if not isinstance(name, str):
            remedy = "give the contamination.jsonl of build_corpus.py"
            raise InputError(f"{ledger}:{number}: task_id", value=name, rule="must be a string", remedy=remedy)
        found[name] = known.get(name.casefold())
    unknown = [name for name, task in found.items() if task is None]
    if unknown:
        more = f" and {len(unknown) - _MAX_SHOWN} more" if len(unknown) > _MAX_SHOWN else ""
        shown = ", ".join(unknown[:_MAX_SHOWN]) + more
        _logger.warning("%s names tasks that are not in the problems file: %s", ledger, shown)
    return {task for task in found.values() if task is not None}, unknown


def clean_scores(counts: Mapping[str, TaskCount], contaminated: set[str], ks: Sequence[int]) -> Summary:
    """pass@k of both groups of judged tasks, and contaminated minus clean; null where a group is empty."""
    groups = {
        "clean": {task: count for task, count in counts.items() if task not in contaminated},
        "contaminated": {task: count for task, count in counts.items() if task in contaminated},
    }
    scores = {name: {"num_problems": len(group), **pass_at_ks(group, ks)} for name, group in groups.items()}
    difference: Summary = {}
    for k in ks:
        measured = all(scores[name][f"pass@{k}"] is not None for name in groups)
        estimate = estimate_difference(groups["contaminated"], groups["clean"], k) if measured else None
        difference[f"pass@{k}"] = estimate.value if estimate else None
        difference[f"pass@{k}_ci95"] = [estimate.low, estimate.high] if estimate else None
    return {**scores, "contaminated_minus_clean": difference}


def _rows(ledger: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    if ledger.is_file() and ledger.stat().st_size == 0:
        return []
    return read_numbered_jsonl(require_file(ledger, "a ledger of contaminated documents"))
