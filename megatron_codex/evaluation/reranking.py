"""Which of k samples to hand out: random, sum log p, mean log p, back-translation, oracle, as curves over k.

In: results (samples with verdicts). Out: for each ranker and k, the share of problems solved when the ranker's first of
k samples is submitted. Paper sections 3.3 and 5 (figures 7 and 12).

The expectation over all k-subsets of a problem's n samples is computed, not simulated: with the samples sorted by
score, the best of a random subset lies behind the first a with probability C(n-a, k) / C(n, k). Equal scores are broken
at random. Random ranking is then "all scores equal", the oracle "score = passed", which gives pass@k itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from megatron_codex.errors import InputError
from megatron_codex.evaluation.intervals import draw_problems, mean_interval
from megatron_codex.problems.render import body_indent, render_d
from megatron_codex.records import Completion, Problem

FORMAT = "megatron_codex/reranking/1"
BACK_TRANSLATION_FIELD = "back_translation_logp"
"""log P(the problem's docstring | signature and sampled body) under Codex-D, in a row of results."""

SCORE_FIELDS = {
    "mean log p": "mean_logp",
    "sum log p": "sum_logp",
    "back-translation": BACK_TRANSLATION_FIELD,
}
RANDOM, ORACLE = "random", "oracle"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Task:
    passed: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]


def ranking_curves(rows: Iterable[Row], *, k: Sequence[int] = (), seed: int = 0) -> dict[str, Any]:
    """Curves of every ranker whose scores the rows hold, as a JSON object.

    rows: results; samples whose verdict is `infra` say nothing and are left out (counted). k: how many samples are
    chosen from; none: 1, 2, 5, 10, 20, ... up to the fewest samples of a problem. seed: of the bootstrap over problems,
    which gives the 95 % intervals of each pass rate and of its difference from random ranking.
    Raises: InputError for rows without verdicts, incomplete scores or a k above a problem's samples.
    """
    rows = list(rows)
    judged = [row for row in rows if _verdict(row) != "infra"]
    rankers = [name for name, key in SCORE_FIELDS.items() if any(row.get(key) is not None for row in judged)]
    tasks = _tasks(judged, rankers)
    fewest = min(len(task.passed) for task in tasks.values())
    sizes = list(k) or list(_usual_sizes(fewest))
    for size in sizes:
        if not 1 <= size <= fewest:
            remedy = "choose smaller k or draw more samples"
            raise InputError(
                "k", value=size, rule=f"must be 1 to {fewest}, the fewest samples of a problem", remedy=remedy
            )
    names = [RANDOM, *rankers, ORACLE]
    rates = {name: _pass_rates(tasks.values(), name, sizes) for name in names}
    draws = draw_problems(len(tasks), seed=seed)
    return {
        "format": FORMAT,
        "num_problems": len(tasks),
        "num_samples": len(judged),
        "left_out_infra": len(rows) - len(judged),
        "not_in_results": [name for name in SCORE_FIELDS if name not in rankers],
        "k": sizes,
        "curves": [
            {
                "ranker": name,
                **_with_interval(rates[name], draws),
                "minus_random": _with_interval(rates[name] - rates[RANDOM], draws),
            }
            for name in names
        ],
    }


def first_of_k(passed: NDArray[np.bool_], scores: NDArray[np.float64], k: int) -> float:
    """Probability that the best-scored of k samples, drawn without replacement from these n, passes.

    passed, scores: [n]; scores may be -inf; equal ones are broken at random.
    """
    n = len(passed)
    order = np.argsort(-scores, kind="stable")
    _, group_starts = np.unique(-scores[order], return_index=True)
    # behind[a]: none of the first a is in the subset, C(n-a, k) / C(n, k).
    left = n - np.arange(n)
    behind = np.concatenate([[1.0], np.cumprod(np.maximum(0.0, 1 - k / left))])
    ends = np.append(group_starts[1:], n)
    passed_before = np.concatenate([[0], np.cumsum(passed[order])])
    share = (passed_before[ends] - passed_before[group_starts]) / (ends - group_starts)
    return float(((behind[group_starts] - behind[ends]) * share).sum())


def back_translation_pairs(problems: Iterable[Problem], completions: Iterable[Completion]) -> list[tuple[str, str]]:
    """(Codex-D prompt with the sampled body, the problem's own docstring) of each completion, in order.

    Raises: InputError for a completion of an unknown task, or a problem without signature or docstring.
    """
    by_task = {problem.task_id: problem for problem in problems}
    pairs = []
    for completion in completions:
        problem = by_task.get(completion.task_id)
        if problem is None:
            raise InputError(
                "task_id", value=completion.task_id, rule="is not in the problems file", remedy="give its problems file"
            )
        truth = render_d(problem).completion
        body = completion.completion if completion.completion.strip() else f"{body_indent(problem.body)}pass\n"
        pairs.append((render_d(dataclasses.replace(problem, body=body)).prompt, truth))
    return pairs


def _verdict(row: Row) -> str:
    if not isinstance(row.get("verdict"), str):
        where = f"results: {row.get('task_id', 'a row')}"
        raise InputError(where, rule="has no verdict", remedy="judge the samples first: tools/evaluate.py")
    return str(row["verdict"])


def _tasks(rows: Sequence[Row], rankers: Sequence[str]) -> dict[str, _Task]:
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row["task_id"], []).append(row)
    if not by_task:
        raise InputError("results", rule="hold no judged sample", remedy="judge the samples first: tools/evaluate.py")
    return {
        task_id: _Task(
            passed=np.array([row["verdict"] == "passed" for row in members]),
            scores={name: np.array([_score(row, SCORE_FIELDS[name]) for row in members]) for name in rankers},
        )
        for task_id, members in by_task.items()
    }


def _score(row: Row, key: str) -> float:
    """A sample without tokens (or, in back-translation, too long to be scored) has no score and ranks last."""
    value = row.get(key)
    if value is None and key not in row:
        remedy = "score all samples, or remove the field from all"
        raise InputError(f"results: {row['task_id']}: {key}", rule="is missing, but other rows have it", remedy=remedy)
    return -np.inf if value is None else float(value)


def _pass_rates(tasks: Iterable[_Task], ranker: str, sizes: Sequence[int]) -> NDArray[np.float64]:
    """[problems, k]."""
    rates = []
    for task in tasks:
        if ranker == RANDOM:
            scores = np.zeros(len(task.passed))
        elif ranker == ORACLE:
            scores = task.passed.astype(np.float64)
        else:
            scores = task.scores[ranker]
        rates.append([first_of_k(task.passed, scores, size) for size in sizes])
    return np.array(rates)


def _with_interval(values: NDArray[np.float64], draws: NDArray[np.int64]) -> dict[str, list[float]]:
    """Mean over problems and its bootstrap interval, for each k."""
    mean, low, high = mean_interval(values, draws)
    return {"pass_rate": mean.tolist(), "low": low.tolist(), "high": high.tolist()}


def _usual_sizes(most: int) -> Iterable[int]:
    scale = 1
    while scale <= most:
        yield from (size for size in (scale, 2 * scale, 5 * scale) if size <= most)
        scale *= 10
