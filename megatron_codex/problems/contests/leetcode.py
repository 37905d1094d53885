"""LeetCode-style rows: a statement, and a method of class Solution to write.

In: a row with a statement (content, problem_description, description or statement), a solution (solution, completion,
python, code or solutions) or starter code, and tests in input_output or in the statement's examples. Out: a Candidate
whose method has become a function (solution_class.py). Lists and trees of nodes and answers in place are rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.candidate import Candidate, Limits, Rejected, json_field, text_field
from megatron_codex.problems.contests.readings import function_readings, python3_programs
from megatron_codex.problems.contests.signatures import completed_starter, parameters_of
from megatron_codex.problems.contests.solution_class import CLASS, class_of, functions_of_class, method_names
from megatron_codex.problems.contests.statement_examples import function_examples
from megatron_codex.problems.contests.statements import docstring_of, text_of
from megatron_codex.problems.functions import FunctionNode, NotSplit, find_function
from megatron_codex.tagged import decode

SOURCE = "LeetCode"
STATEMENTS = ("content", "problem_description", "description", "statement")
SOLUTIONS = ("solution", "completion", "python", "code")
_NAMES = ("task_id", "slug", "title", "question_id", "id", "problem_id")
_FLOAT_TOLERANCE = 1e-5
"""LeetCode's own for answers that are floats."""


def is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row has a statement and something with class Solution."""
    programs = [row.get(name) for name in (*SOLUTIONS, "starter_code", "solutions")]
    return any(row.get(name) for name in STATEMENTS) and any(f"class {CLASS}" in str(each) for each in programs if each)


def candidate_of(row: Mapping[str, Any], limits: Limits, *, where: str) -> Candidate:
    """One problem. Raises: InputError for a row of another form; Rejected."""
    task_id = f"{SOURCE}/{next((row[name] for name in _NAMES if row.get(name)), where.rpartition(':')[2])}"
    statement = text_field(row, STATEMENTS, where)
    programs = python3_programs(_programs(row, where), limits)
    name = _method(row, programs, where)
    starter = text_field(row, ["starter_code"], where, default="")
    try:
        unsolved = completed_starter(starter, name)
    except NotSplit:
        unsolved = ""
    _check_signature((programs or [unsolved])[0], name)
    solutions, unsolved = [functions_of_class(each, name) for each in programs], functions_of_class(unsolved, name)
    try:
        parameters = parameters_of(find_function((solutions or [unsolved])[0], name))
    except NotSplit as error:
        raise Rejected("referenced", "no solution can be cut", str(error)) from error
    given = function_examples("\n".join(_labelled(row, where)), name, parameters)
    extra = function_examples(text_of(statement), name, parameters)
    ways = [limits.chosen([_compared(each, statement) for each in given or extra])]
    more = [_compared(each, statement) for each in extra]
    provenance = {key: row[key] for key in ("difficulty", "tags", "url") if row.get(key)}
    readings = function_readings(
        solutions,
        name,
        docstring_of(statement),
        ways,
        more,
        starter=unsolved,
        task_id=task_id,
        source=SOURCE,
        provenance=provenance,
    )
    return Candidate(task_id=task_id, readings=readings)


def _programs(row: Mapping[str, Any], where: str) -> list[Any]:
    many = json_field(row, "solutions", where) if isinstance(row.get("solutions"), (list, str)) else None
    one = text_field(row, SOLUTIONS, where, default="")
    return [*([one] if one.strip() else []), *(many if isinstance(many, list) else [])]


def _method(row: Mapping[str, Any], programs: list[str], where: str) -> str:
    wanted = text_field(row, ["entry_point"], where, default="").rpartition(".")[2]
    starter = text_field(row, ["starter_code"], where, default="").rstrip()
    for code in (f"{starter}\n        pass\n", f"{starter}\n", *programs):
        try:
            names = [name for name in method_names(code) if not name.startswith("_")]
        except NotSplit:
            continue
        if wanted in names or (not wanted and names):
            # A solution's helpers may stand before the method; starter code has the one that is asked for.
            return wanted or (names[-1] if code in programs else names[0])
    raise Rejected("usable", f"no method of class {CLASS}")


def _check_signature(code: str, name: str) -> None:
    node = class_of(code)
    for each in node.body if node else []:
        if isinstance(each, FunctionNode) and each.name == name and each.returns is not None:
            answers = getattr(each.returns, "value", each.returns)
            if answers is None:
                raise Rejected("usable", "answers in place", f"{name} returns None")


def _labelled(row: Mapping[str, Any], where: str) -> Iterator[str]:
    """Tests of input_output in the form that statements have."""
    tests = json_field(row, "input_output", where)
    if isinstance(tests, dict) and isinstance(tests.get("inputs"), list) and isinstance(tests.get("outputs"), list):
        tests = [{"input": i, "output": o} for i, o in zip(tests["inputs"], tests["outputs"], strict=False)]
    for each in tests if isinstance(tests, list) else []:
        if isinstance(each, Mapping) and "input" in each and "output" in each:
            yield f"Input: {each['input']}\nOutput: {each['output']}\n"


def _compared(example: Example, statement: str) -> Example:
    if "output" not in example:
        return example
    value = decode(example["output"])
    if isinstance(value, float):
        return {**example, "tolerance": _FLOAT_TOLERANCE}
    if isinstance(value, list) and "in any order" in statement:
        return {**example, "unordered": True}
    return example
