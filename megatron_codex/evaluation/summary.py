"""Counts of verdicts, and pass@k with intervals, from numbers alone.

In: the verdict of each program, and which program each sample is. Out: the summary that evaluate.py prints. A sample
with the verdict infra is neither passed nor failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from megatron_codex.evaluation.pass_at_k import TaskCount, estimate_pass_at_k
from megatron_codex.evaluation.sample_index import SampleIndex
from megatron_codex.records import VERDICT_NAMES

Summary = dict[str, Any]
Counts = npt.NDArray[np.int64]

_PASSED, _INFRA, _TIMEOUT = map(VERDICT_NAMES.index, ("passed", "infra", "timeout"))


def count_verdicts(index: SampleIndex, codes: npt.NDArray[np.uint8]) -> Counts:
    """Samples of each task with each verdict: [tasks, VERDICT_NAMES]. codes: [programs], places in VERDICT_NAMES."""
    size = len(VERDICT_NAMES)
    cells = index.task_of_program.astype(np.int64) * size + codes
    counts = np.bincount(cells[index.program_of_sample], minlength=len(index.tasks) * size)
    return counts.reshape(-1, size)


def summarize(counts: Counts, index: SampleIndex, ks: Sequence[int], *, num_problems_in_file: int) -> Summary:
    """pass@k with intervals, null where infra leaves a task fewer than k samples; counts; rate of timeouts."""
    total = counts.sum(axis=0)
    num_samples, num_judged = int(total.sum()), int(total.sum() - total[_INFRA])
    judged = judged_tasks(counts, index.tasks)
    return {
        **pass_at_ks(judged, ks),
        "ci95_over": "problems" if len(judged) > 1 else "samples",
        "num_problems": len(index.tasks),
        "num_problems_in_file": num_problems_in_file,
        "num_samples": num_samples,
        "num_different_programs": index.num_programs,
        "verdicts": {name: int(number) for name, number in zip(VERDICT_NAMES, total, strict=True)},
        "timeout_rate": int(total[_TIMEOUT]) / num_judged if num_judged else None,
    }


def judged_tasks(counts: Counts, tasks: Iterable[str]) -> dict[str, TaskCount]:
    """Judged and passed samples of each task that has a judged one."""
    return {
        task: TaskCount(num_samples=int(row.sum() - row[_INFRA]), num_correct=int(row[_PASSED]))
        for task, row in zip(tasks, counts, strict=True)
        if row.sum() > row[_INFRA]
    }


def pass_at_ks(counts: Mapping[str, TaskCount], ks: Sequence[int]) -> Summary:
    """pass@k and its interval for each k; null where a task has fewer samples, or where there is no task."""
    summary: Summary = {}
    for k in ks:
        enough = bool(counts) and all(count.num_samples >= k for count in counts.values())
        estimate = estimate_pass_at_k(counts, k) if enough else None
        summary[f"pass@{k}"] = estimate.value if estimate else None
        summary[f"pass@{k}_ci95"] = [estimate.low, estimate.high] if estimate else None
    return summary


def verdicts_of_tasks(counts: Counts, tasks: Iterable[str]) -> dict[str, dict[str, int]]:
    """Samples of each task by verdict, those that there are."""
    return {
        task: {name: int(number) for name, number in zip(VERDICT_NAMES, row, strict=True) if number}
        for task, row in zip(tasks, counts, strict=True)
    }
