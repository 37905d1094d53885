"""Recorded calls made again, in fresh jailed processes: what does not come out the same is no test.

In: functions that were taken out of their projects, with examples. Out: for each the examples that reproduce, or why
none do. A second stage repeats them in other orders and under other hash seeds (every worker process draws its own):
what then differs is stateful or not deterministic. Codex paper, section 4.3.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.ci_problem import test_source
from megatron_codex.problems.examples import is_data
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.used_names import given_classes

OpenPool = Callable[[], JudgePool]


@dataclass(kw_only=True)
class Replayed:
    """examples: those that reproduced. fault: the verdict of one that did not, "" where all did."""

    examples: list[Example] = field(default_factory=list)
    fault: str = ""


def replay_functions(functions: Sequence[ExtractedFunction], open_pool: OpenPool) -> list[Replayed]:
    """Which examples of each function reproduce: all at once first, then, where that fails, one by one."""
    results = [Replayed() for _ in functions]
    if not functions:
        return results
    with open_pool() as pool:
        verdicts = _judge(pool, [program_of(function, function.examples) for function in functions])
        single: list[tuple[int, Example]] = []
        for index, (function, verdict) in enumerate(zip(functions, verdicts, strict=True)):
            if verdict.passed:
                results[index].examples = list(function.examples)
            else:
                single += [(index, example) for example in function.examples]
        programs = [program_of(functions[index], [example]) for index, example in single]
        for (index, example), verdict in zip(single, _judge(pool, programs), strict=True):
            if verdict.passed:
                results[index].examples.append(example)
            else:
                results[index].fault = f"{verdict.verdict}: {verdict.detail}"
    return results


def find_unstable(functions: Sequence[ExtractedFunction], open_pool: OpenPool, *, num_repeats: int) -> dict[int, str]:
    """Index -> fault of the functions that fail in one of `num_repeats` more runs, each in another order of calls."""
    faults: dict[int, str] = {}
    for repeat in range(num_repeats if functions else 0):
        with open_pool() as pool:
            programs = [program_of(each, _shuffled(each.examples, repeat)) for each in functions]
            for index, verdict in enumerate(_judge(pool, programs)):
                if not verdict.passed:
                    faults.setdefault(index, f"{verdict.verdict}: {verdict.detail}")
    return faults


def program_of(function: ExtractedFunction, examples: Sequence[Example]) -> Program:
    """The project's own function with these calls as its tests."""
    classes = given_classes(function.prompt, function.entry_point)
    plain = all(map(is_data, examples))
    return Program(
        source=function.source,
        entry_point=function.entry_point,
        io_examples=tuple(examples) if plain else (),
        test="" if plain else test_source(function, examples),
        classes=classes,
        references=(function.source,),
    )


def _shuffled(examples: Sequence[Example], repeat: int) -> list[Example]:
    """The first repeat runs the examples backwards, the others in orders of their own."""
    shuffled = list(reversed(examples))
    if repeat:
        random.Random(repeat).shuffle(shuffled)
    return shuffled


def _judge(pool: JudgePool, programs: Sequence[Program]) -> list[Verdict]:
    verdicts = dict(pool.judge(programs))
    return [verdicts[index] for index in range(len(programs))]
