"""References in the judge: the first reading of a problem whose reference passes its own tests is the problem.

In: Candidates with readings. Out: for each the accepted reading, or the verdict on the first one. Codex paper,
section 4.1: only problems whose tests are right are of use.
"""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.problems.contests.candidate import Candidate
from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program


def accept(candidates: Sequence[Candidate], pool: JudgePool) -> list[Problem | Verdict]:
    """One for each, in order. All first readings are judged, then the second ones of those that failed, and so on."""
    outcomes: list[Problem | Verdict | None] = [None] * len(candidates)
    turn = 0
    waiting = list(range(len(candidates)))
    while waiting:
        readings = [candidates[index].readings[turn] for index in waiting]
        failed = []
        for place, verdict in pool.judge(Program.of(each, each.canonical_solution) for each in readings):
            index = waiting[place]
            if verdict.passed:
                outcomes[index] = readings[place]
            else:
                outcomes[index] = outcomes[index] or verdict
                failed.append(index)
        turn += 1
        waiting = sorted(index for index in failed if turn < len(candidates[index].readings))
    return [outcome for outcome in outcomes if outcome is not None]


def passes(problem: Problem, pool: JudgePool) -> Verdict:
    """The verdict on a problem's own reference."""
    ((_, verdict),) = pool.judge([Program.of(problem, problem.canonical_solution)])
    return verdict
