"""Programs judged several times over, to see whose verdict stays.

In: attempts (a problem and a completion). Out: each attempt's verdicts, one a repeat. Every repeat has an order of its
own and fresh worker processes, hence other hash seeds. Codex paper, section 4.3.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from megatron_codex.config.problems import FilterConfig
from megatron_codex.log import progress
from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program


@dataclass(kw_only=True)
class Attempt:
    """A completion of a problem's prompt and what the judge said of it, repeat by repeat."""

    problem: Problem
    completion: str
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def was_judged(self) -> bool:
        """False when the sandbox failed: no statement about the program."""
        return all(verdict.verdict != "infra" for verdict in self.verdicts)

    @property
    def always_passes(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

    @property
    def is_stable(self) -> bool:
        """Whether it passed every time or never."""
        return len({verdict.passed for verdict in self.verdicts}) == 1

    @property
    def last_fault(self) -> str:
        """The last verdict that is no pass, in words."""
        faults = [verdict for verdict in self.verdicts if not verdict.passed]
        return f"{faults[-1].verdict}: {faults[-1].detail}" if faults else ""


def judge_repeatedly(
    attempts: Sequence[Attempt],
    config: FilterConfig,
    *,
    description: str,
    on_verdict: Callable[[int, int, Verdict], None] = lambda index, repeat, verdict: None,
) -> None:
    """Fill every attempt's verdicts. on_verdict(index of the attempt, repeat, verdict) is called as they come.

    Raises: WorkError when this machine cannot isolate programs.
    """
    for repeat in range(config.repeats if attempts else 0):
        order = list(range(len(attempts)))
        random.Random(repeat).shuffle(order)
        programs = (Program.of(attempts[index].problem, attempts[index].completion) for index in order)
        with JudgePool(
            config.workers,
            timeout_s=config.timeout_s,
            memory_bytes=config.memory_bytes,
            allow_level_b=config.allow_level_b,
        ) as pool:
            title = f"{description}, {repeat + 1} of {config.repeats}"
            judged = progress(pool.judge(programs), total=len(order), description=title, unit="programs")
            for position, verdict in judged:
                attempts[order[position]].verdicts.append(verdict)
                on_verdict(order[position], repeat, verdict)
