"""A problem with the tests that a harvest revealed.

In: a Problem, a Harvest. Out: the Problem with all known tests; its provenance says what was revealed and what it cost.
"""

from __future__ import annotations

import dataclasses

from megatron_codex.problems.contests.harvest import Harvest
from megatron_codex.problems.contests.readings import function_tests
from megatron_codex.problems.contests.values import test_source
from megatron_codex.records import Problem


def with_revealed(problem: Problem, harvest: Harvest) -> Problem:
    """A `test` that says more than the examples can stays beside them."""
    told = {
        "revealed": len(harvest.revealed),
        "submissions": dict(harvest.submissions),
        "complete": harvest.complete,
        "ended": harvest.ended,
    }
    problem = dataclasses.replace(problem, provenance={**problem.provenance, "harvest": told})
    if not harvest.revealed:
        return problem
    if not problem.entry_point:
        return dataclasses.replace(problem, stdio_examples=tuple(harvest.known))
    fields = function_tests(harvest.known)
    if problem.test.strip() and problem.test != test_source(problem.io_examples):
        fields["test"] = problem.test
    return dataclasses.replace(problem, **fields)
