"""The outcome of a test whose input a judge shows, but not what it expects: the reference, in the sandbox, says it.

In: a problem with a reference, a call. Out: the call with its result. Scripts, and calls by keyword, have none.
"""

from __future__ import annotations

import dataclasses

from megatron_codex.config.contests import MineConfig
from megatron_codex.errors import InputError
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.evalplus import PENDING
from megatron_codex.problems.reference_answers import with_expected_outputs
from megatron_codex.records import Problem


def with_outcome(case: Example, problem: Problem, config: MineConfig) -> Example | None:
    """None where the reference cannot be asked, or fails. Raises: WorkError when it cannot be isolated."""
    if "args" not in case or case.get("kwargs") or not problem.canonical_solution.strip():
        return None
    pending = dataclasses.replace(
        problem, test="", io_examples=(), provenance={PENDING: {"inputs": [case["args"]], "tolerance": 0}}
    )
    try:
        answered = with_expected_outputs(
            [pending],
            timeout_s=config.timeout_s,
            memory_bytes=config.memory_bytes,
            allow_level_b=config.allow_level_b,
            workers=1,
        )
    except InputError:
        return None
    found = answered[problem.task_id].io_examples
    return found[0] if len(found) == 1 else None
