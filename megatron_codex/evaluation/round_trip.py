"""How good are generated docstrings? Codex-D writes them, Codex-S writes code from them, unit tests judge the code.

An addition of this project: the paper grades docstrings by hand (section 5: 10 samples a problem, temperature 0.8).
In: problems and three callables (docstring sampler, code sampler, judge), so that this room needs no torch. Out: pass
rates of code written from generated docstrings, beside two bounds measured in the same way: the problem's own docstring
(ceiling) and none (floor). A docstring that quotes code passes too; BLEU and the samples file show such cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from megatron_codex.errors import InputError
from megatron_codex.evaluation.intervals import draw_problems, mean_interval
from megatron_codex.problems.render import docstring_prompt, parse_docstring, render_d
from megatron_codex.records import Completion, Problem, Verdict

FORMAT = "megatron_codex/round_trip/1"
GENERATED, TRUE, EMPTY = "generated docstring", "true docstring", "no docstring"

Sample = Callable[[Sequence[tuple[str, str]]], list[Completion]]
"""(unique id, prompt) pairs -> samples, those of one id side by side, in the order of the pairs."""
Judge = Callable[[Sequence[tuple[Problem, str]]], list[Verdict]]
"""(problem, completion) pairs -> verdicts, in order."""
Bleu = Callable[[str, str], float]
"""(reference, candidate) -> 0..1."""


@dataclass(frozen=True, kw_only=True)
class RoundTrip:
    """What the round trip gave."""

    summary: dict[str, Any]
    """Pass rates with intervals, BLEU and counts, as JSON."""
    docstrings: list[dict[str, Any]]
    """Codex-D's samples with the docstring read from each (null where there is none) and its pass rate."""
    programs: list[dict[str, Any]]
    """Codex-S's samples with the arm they belong to and their verdicts."""


@dataclass(frozen=True)
class _Trip:
    """One docstring of one problem, on its way to code."""

    problem: Problem
    arm: str
    docstring: str
    task_id: str


def grade_docstrings(
    problems: Sequence[Problem],
    *,
    write_docstrings: Sample,
    write_code: Sample,
    judge: Judge,
    bleu: Bleu | None = None,
    seed: int = 0,
) -> RoundTrip:
    """Run the round trip on all problems.

    A sample without a readable docstring writes no code and counts as failed. Programs whose verdict is `infra` say
    nothing and are left out (counted). seed: of the bootstrap over problems.
    Raises: InputError for problems without signature, body or docstring.
    """
    written = write_docstrings([(problem.task_id, render_d(problem).prompt) for problem in problems])
    by_task = {problem.task_id: problem for problem in problems}
    trips: list[_Trip] = []
    docstrings: list[dict[str, Any]] = []
    for number, sample in enumerate(written):
        problem, text = by_task[sample.task_id], parse_docstring(sample.completion)
        row = {**sample.to_json(), "docstring": text or None, "code_task_id": None, "pass_rate": 0.0}
        if text:
            row["code_task_id"] = f"{problem.task_id}#docstring-{number}"
            trips.append(_Trip(problem, GENERATED, text, row["code_task_id"]))
        if bleu is not None:
            row["bleu"] = bleu(problem.docstring, text or "")
        docstrings.append(row)
    for problem in problems:
        trips.append(_Trip(problem, TRUE, problem.docstring, f"{problem.task_id}#true"))
        trips.append(_Trip(problem, EMPTY, "", f"{problem.task_id}#empty"))
    programs = _write_and_judge(trips, write_code, judge)
    rates = _pass_rates(programs)
    for row in docstrings:
        if row["code_task_id"] is not None:
            row["pass_rate"] = rates.get(row["code_task_id"])
    return RoundTrip(
        summary=_summary(problems, docstrings, programs, rates, seed), docstrings=docstrings, programs=programs
    )


def _write_and_judge(trips: Sequence[_Trip], write_code: Sample, judge: Judge) -> list[dict[str, Any]]:
    by_id = {trip.task_id: trip for trip in trips}
    samples = write_code([(trip.task_id, docstring_prompt(trip.problem, trip.docstring)) for trip in trips])
    verdicts = judge([(by_id[sample.task_id].problem, sample.completion) for sample in samples])
    return [
        {**sample.to_json(), "arm": by_id[sample.task_id].arm, **verdict.to_json()}
        for sample, verdict in zip(samples, verdicts, strict=True)
    ]


def _pass_rates(programs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Share of passed programs of each code task; tasks with harness faults only are absent."""
    outcomes: dict[str, list[bool]] = {}
    for row in programs:
        if row["verdict"] != "infra":
            outcomes.setdefault(row["task_id"], []).append(row["verdict"] == "passed")
    return {task_id: float(np.mean(passed)) for task_id, passed in outcomes.items()}


def _summary(
    problems: Sequence[Problem],
    docstrings: Sequence[dict[str, Any]],
    programs: Sequence[dict[str, Any]],
    rates: dict[str, float],
    seed: int,
) -> dict[str, Any]:
    by_problem: dict[str, list[float]] = {problem.task_id: [] for problem in problems}
    for row in docstrings:
        if row["pass_rate"] is not None:
            by_problem[row["task_id"]].append(row["pass_rate"])
    bounds = {TRUE: "#true", EMPTY: "#empty"}
    complete = [
        task for task, values in by_problem.items() if values and all(task + end in rates for end in bounds.values())
    ]
    if not complete:
        remedy = "look at the verdicts' detail and run again"
        raise InputError("round trip", rule="the harness failed on every problem", remedy=remedy)
    columns = np.array(
        [[np.mean(by_problem[task]), *(rates[task + end] for end in bounds.values())] for task in complete]
    )
    mean, low, high = mean_interval(columns, draw_problems(len(complete), seed=seed))
    summary: dict[str, Any] = {
        "format": FORMAT,
        "note": "docstring -> code -> unit tests: an addition of this project; the paper grades by hand",
        "num_problems": len(complete),
        "left_out_problems": len(problems) - len(complete),
        "num_docstrings": len(docstrings),
        "without_docstring": sum(row["docstring"] is None for row in docstrings),
        "left_out_infra": sum(row["verdict"] == "infra" for row in programs),
        "arms": [
            {"arm": arm, "pass_rate": float(mean[i]), "low": float(low[i]), "high": float(high[i])}
            for i, arm in enumerate((GENERATED, TRUE, EMPTY))
        ],
    }
    if docstrings and "bleu" in docstrings[0]:
        summary["bleu"] = float(np.mean([row["bleu"] for row in docstrings]))
        summary["bleu_correlation"] = _bleu_correlation(docstrings)
    return summary


def _bleu_correlation(docstrings: Sequence[dict[str, Any]]) -> float | None:
    """Pearson's r of a docstring's BLEU and the pass rate of code written from it; None where one of them is constant.

    Of docstrings that were read and whose programs were judged. The paper (section 3.4, figure 8) compares BLEU of
    right and wrong code, and finds that it does not tell them apart.
    """
    rows = [row for row in docstrings if row["docstring"] is not None and row["pass_rate"] is not None]
    bleus, rates = np.array([[row["bleu"], row["pass_rate"]] for row in rows], float).reshape(-1, 2).T
    if len(rows) < 2 or np.ptp(bleus) == 0 or np.ptp(rates) == 0:
        return None
    return float(np.corrcoef(bleus, rates)[0, 1])
