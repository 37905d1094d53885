"""What reference solutions answer: the expected outputs of problems that come with inputs only.

In: Problems, some pending (evalplus.py). Out: the same, whole. Each reference runs once, jailed as a judged program is,
under the same limits of CPU time and memory: a problem whose reference does not keep them can be solved by nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.log import progress
from megatron_codex.problems.evalplus import PENDING, is_pending, with_outputs
from megatron_codex.problems.evalplus_oracles import answers_with_found
from megatron_codex.problems.jailed_calls import JailedCalls
from megatron_codex.records import Problem
from megatron_codex.sandbox.comparison import describe_exception
from megatron_codex.sandbox.frames import BrokenFrame, FrameTimeout
from megatron_codex.sandbox.jail import Limits
from megatron_codex.tagged import NotPlainData

_WALL_FACTOR = 20
"""Of the CPU time: a busy machine must not make a reference fail."""
_MAX_SHOWN = 3
_FOUND_ONLY = """

def {name}(*args, __reference={name}):
    return __reference(*args) is not None
"""


class _FailedError(Exception):
    """The reference gave no answer: why."""


def with_expected_outputs(
    problems: Iterable[Problem], *, timeout_s: float, memory_bytes: int, allow_level_b: bool, workers: int
) -> dict[str, Problem]:
    """All problems by task_id, those that were pending with outputs. timeout_s: CPU time of one reference, all inputs.

    Raises: InputError naming problems whose reference fails; WorkError when this machine cannot isolate programs.
    """
    whole = {problem.task_id: problem for problem in problems}
    pending = [problem for problem in whole.values() if is_pending(problem)]
    if not pending:
        return whole
    limits = Limits(cpu_s=timeout_s, wall_s=_WALL_FACTOR * timeout_s + 1, memory_bytes=memory_bytes)
    faults: list[str] = []
    with (
        JailedCalls(workers, allow_level_b=allow_level_b) as jailed,
        ThreadPoolExecutor(workers) as threads,
    ):
        answered = threads.map(partial(_complete, jailed=jailed, limits=limits), pending)
        for problem in progress(answered, total=len(pending), description="reference solutions", unit="problems"):
            if isinstance(problem, str):
                faults.append(problem)
            else:
                whole[problem.task_id] = problem
    if faults:
        more = f" and {len(faults) - _MAX_SHOWN} more" if len(faults) > _MAX_SHOWN else ""
        rule = f"the reference solution gives no expected outputs: {'; '.join(faults[:_MAX_SHOWN])}{more}"
        remedy = "mend or leave out these problems, or give more --timeout-s or --memory-bytes"
        raise InputError("problems", rule=rule, remedy=remedy)
    return whole


def _complete(problem: Problem, jailed: JailedCalls, limits: Limits) -> Problem | str:
    """The problem with its outputs, or its name and why there are none. Raises: WorkError, of the sandbox."""
    try:
        return with_outputs(problem, _outputs(problem, jailed, limits))
    except (_FailedError, BrokenFrame, FrameTimeout, NotPlainData) as error:
        return f"{problem.task_id}: {error}"


def _outputs(problem: Problem, jailed: JailedCalls, limits: Limits) -> list[Any]:
    """In tagged JSON, one for each input."""
    calls = [{"args": args, "kwargs": {}} for args in problem.provenance[PENDING]["inputs"]]
    source = problem.prompt + problem.canonical_solution
    if answers_with_found(problem.task_id, problem.entry_point):
        source += _FOUND_ONLY.format(name=problem.entry_point)
    with jailed.candidate(limits, name=f"{problem.task_id}: its reference") as candidate:
        try:
            loaded = candidate.load(source, problem.entry_point, calls)
            if "raised" in loaded:
                raise _FailedError(describe_exception(loaded))
            return [_value(candidate.read(), f"input {number} of {len(calls)}") for number in range(1, len(calls) + 1)]
        except EOFError:
            pass  # its ending says why
    ending = candidate.ending
    why = {"cpu": f"used up {limits.cpu_s:g} s of CPU time", "wall": f"had no end in {limits.wall_s:g} s"}
    raise _FailedError(why.get(ending.stopped, f"its process ended (exit {ending.exit})"))


def _value(answer: dict[str, Any], name: str) -> Any:
    if "value" in answer:
        return answer["value"]
    fault = describe_exception(answer) if "raised" in answer else answer.get("unsupported", "an iterator")
    raise _FailedError(f"{name}: {fault}")
