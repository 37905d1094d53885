"""Recorded calls made again, in fresh jailed processes: what does not come out the same is no test.

In: functions that were taken out of their projects, with examples. Out: for each the examples that reproduce, or why
none do. A second stage repeats them in other orders and under other hash seeds (every worker process draws its own):
what then differs is stateful or not deterministic. Codex paper, section 4.3.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from megatron_codex.problems.examples import Example
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

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
        verdicts = _judge(pool, [_program(function, function.traced.examples) for function in functions])
        single: list[tuple[int, Example]] = []
        for index, (function, verdict) in enumerate(zip(functions, verdicts, strict=True)):
            if verdict.passed:
                results[index].examples = list(function.traced.examples)
            else:
                single += [(index, example) for example in function.traced.examples]
        programs = [_program(functions[index], [example]) for index, example in single]
        for (index, example), verdict in zip(single, _judge(pool, programs), strict=True):
            if verdict.passed:
                results[index].examples.append(example)
            else:
                results[index].fault = f"{verdict.verdict}: {verdict.detail}"
    return results


def find_unstable(programs: Sequence[Program], open_pool: OpenPool, *, num_repeats: int) -> dict[int, str]:
    """Index -> fault of the programs that fail in one of `num_repeats` more runs, each in its own order of examples."""
    faults: dict[int, str] = {}
    for repeat in range(num_repeats if programs else 0):
        with open_pool() as pool:
            shuffled = [_shuffled(program, repeat) for program in programs]
            for index, verdict in enumerate(_judge(pool, shuffled)):
                if not verdict.passed:
                    faults.setdefault(index, f"{verdict.verdict}: {verdict.detail}")
    return faults


def _program(function: ExtractedFunction, examples: Iterable[Example]) -> Program:
    return Program(
        source=function.prompt + function.parts.body,
        entry_point=function.traced.name,
        io_examples=tuple(examples),
    )


def _shuffled(program: Program, repeat: int) -> Program:
    """The first repeat runs the examples backwards, the others in orders of their own."""
    examples = list(reversed(program.io_examples))
    if repeat:
        random.Random(repeat).shuffle(examples)
    return Program(
        source=program.source,
        entry_point=program.entry_point,
        test=program.test,
        io_examples=tuple(examples),
        references=program.references,
    )


def _judge(pool: JudgePool, programs: Sequence[Program]) -> list[Verdict]:
    verdicts = dict(pool.judge(programs))
    return [verdicts[index] for index in range(len(programs))]
