"""Ranking curves against enumeration of all subsets, and what they leave out."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.errors import InputError
from megatron_codex.evaluation.reranking import back_translation_pairs, first_of_k, ranking_curves
from megatron_codex.records import Completion, Problem


def _enumerated(passed: list[bool], scores: list[float], k: int) -> float:
    values = []
    for subset in combinations(range(len(passed)), k):
        best = max(scores[index] for index in subset)
        tied = [passed[index] for index in subset if scores[index] == best]
        values.append(sum(tied) / len(tied))
    return sum(values) / len(values)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([-np.inf, -2.0, -1.0, 0.5])), min_size=1, max_size=8), st.data()
)
def test_expectation_equals_enumeration_of_all_subsets(samples: list[tuple[bool, float]], data: st.DataObject) -> None:
    passed, scores = map(list, zip(*samples, strict=True))
    k = data.draw(st.integers(1, len(passed)))
    assert first_of_k(np.array(passed), np.array(scores), k) == pytest.approx(_enumerated(passed, scores, k))


def _row(task: str, verdict: str, mean: float | None, total: float | None, **extra: Any) -> dict[str, Any]:
    return {"task_id": task, "verdict": verdict, "mean_logp": mean, "sum_logp": total, **extra}


# Mean log p finds the right sample of each problem; sum log p prefers the short wrong one.
ROWS = [
    _row("a", "passed", -0.1, -4.0),
    _row("a", "wrong", -0.5, -1.0),
    _row("b", "timeout", -0.9, -2.0),
    _row("b", "passed", -0.2, -3.0),
]


def _curve(report: dict[str, Any], ranker: str) -> list[float]:
    return next(curve["pass_rate"] for curve in report["curves"] if curve["ranker"] == ranker)


def test_curves_of_a_case_worked_by_hand() -> None:
    report = ranking_curves(ROWS)
    assert report["k"] == [1, 2]
    assert _curve(report, "random") == [0.5, 0.5]
    assert _curve(report, "oracle") == [0.5, 1.0]
    assert _curve(report, "mean log p") == [0.5, 1.0]
    assert _curve(report, "sum log p") == [0.5, 0.0]
    assert report["not_in_results"] == ["back-translation"]
    minus = {curve["ranker"]: curve["minus_random"]["pass_rate"] for curve in report["curves"]}
    assert minus["mean log p"] == [0.0, 0.5] and minus["random"] == [0.0, 0.0]


def test_harness_faults_are_left_out_and_counted() -> None:
    report = ranking_curves([*ROWS, _row("a", "infra", 0.0, 0.0), _row("b", "infra", None, None)])
    assert (report["left_out_infra"], report["num_samples"]) == (2, 4)
    assert _curve(report, "mean log p") == [0.5, 1.0]


def test_a_sample_without_tokens_ranks_last() -> None:
    rows = [_row("a", "passed", -5.0, -5.0), _row("a", "wrong", None, 0.0)]
    assert _curve(ranking_curves(rows), "mean log p")[-1] == 1.0


def test_back_translation_is_used_where_the_rows_hold_it() -> None:
    scores = [-1.0, -2.0, -3.0, -9.0]
    rows = [{**row, "back_translation_logp": score} for row, score in zip(ROWS, scores, strict=True)]
    assert _curve(ranking_curves(rows), "back-translation") == [0.5, 0.5]


def test_intervals_hold_the_mean_and_come_from_problems_not_samples() -> None:
    rows = [_row(str(task), "passed" if task < 10 else "wrong", -0.1, -1.0) for task in range(40) for _ in range(50)]
    curve = ranking_curves(rows, k=[1])["curves"][0]
    assert curve["low"][0] < curve["pass_rate"][0] == 0.25 < curve["high"][0]
    # 40 problems at 25 %: standard error 6.8 points, so the 95 % interval is about 27 points wide.
    assert 0.2 < curve["high"][0] - curve["low"][0] < 0.34


@pytest.mark.parametrize(
    ("rows", "k", "message"),
    [
        ([{"task_id": "a", "completion": ""}], [], "results: a: has no verdict"),
        ([_row("a", "infra", 0.0, 0.0)], [], "hold no judged sample"),
        (ROWS, [3], "k: got 3; must be 1 to 2"),
        ([*ROWS, {"task_id": "b", "verdict": "wrong"}], [], "results: b: mean_logp: is missing"),
    ],
    ids=["not judged", "only harness faults", "k too large", "score missing in one row"],
)
def test_faulty_results_are_refused(rows: list[dict[str, Any]], k: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranking_curves(rows, k=k)


def test_back_translation_asks_for_the_true_docstring_after_the_sampled_body() -> None:
    problem = Problem(
        task_id="p",
        prompt='def f(x):\n    """Add one."""\n',
        entry_point="f",
        canonical_solution="    return x + 1\n",
        test="",
        signature="def f(x):\n",
        docstring="Add one.",
        body="    return x + 1\n",
    )
    samples = [Completion(task_id="p", completion="    return 1 + x"), Completion(task_id="p", completion="  ")]
    pairs = back_translation_pairs([problem], samples)
    assert pairs[0] == ("def f(x):\n    return 1 + x\n", '    """Add one."""\n')
    assert pairs[1][0] == "def f(x):\n    pass\n"
    with pytest.raises(InputError, match="is not in the problems file"):
        back_translation_pairs([problem], [Completion(task_id="q", completion="")])
