"""APPS (Hendrycks et al. 2021, "Measuring Coding Challenge Competence With APPS"): rows, or a folder a problem.

In: question, solutions, input_output (JSON: inputs, outputs, and fn_name where a function is called), starter_code,
difficulty. Out: Candidates: scripts, functions, and methods of class Solution. Its functions' outputs stand in lists of
one more often than not, without a rule: both readings are tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.candidate import Candidate, Limits, Rejected, json_field, text_field
from megatron_codex.problems.contests.readings import function_readings, python3_programs, script_readings
from megatron_codex.problems.contests.signatures import completed_starter, parameters_of
from megatron_codex.problems.contests.solution_class import functions_of_class
from megatron_codex.problems.contests.statement_examples import function_examples, script_examples
from megatron_codex.problems.contests.statements import docstring_of, text_of
from megatron_codex.problems.contests.values import call_example
from megatron_codex.problems.functions import NotSplit, find_function
from megatron_codex.tagged import NotPlainData

FIELDS = ("question", "input_output")
SOURCE, LICENCE = "APPS", "MIT"
_FILES = {"question": "question.txt", "solutions": "solutions.json", "input_output": "input_output.json"}
_FILES |= {"starter_code": "starter_code.py", "metadata": "metadata.json"}


def is_problem_folder(folder: Path) -> bool:
    return (folder / "question.txt").is_file()


def row_of_folder(folder: Path) -> dict[str, Any]:
    """The row that a problem's folder stands for."""
    row: dict[str, Any] = {"problem_id": folder.name, "input_output": ""}
    for field, name in _FILES.items():
        if (folder / name).is_file():
            row[field] = (folder / name).read_text(encoding="utf-8", errors="replace")
    metadata = json_field(row, "metadata", str(folder / "metadata.json"))
    return {**row, **metadata} if isinstance(metadata, dict) else row


def candidate_of(row: Mapping[str, Any], limits: Limits, *, where: str) -> Candidate:
    """One problem. Raises: InputError for a row of another form; Rejected."""
    number = next((row[name] for name in ("problem_id", "id", "task_id") if name in row), where.rpartition(":")[2])
    tests = _tests(row, where)
    programs = json_field(row, "solutions", where) or []
    if not isinstance(programs, list):
        raise InputError(f"{where}: solutions", value=programs, rule="must be a list", remedy="mend this row")
    question = text_field(row, ["question"], where)
    fields = {
        "task_id": f"{SOURCE}/{number}",
        "source": SOURCE,
        "licence": LICENCE,
        "provenance": {name: row[name] for name in ("difficulty", "url") if row.get(name)},
    }
    if tests.get("fn_name"):
        starter = text_field(row, ["starter_code"], where, default="")
        readings = _functions(tests, programs, starter, question, limits, fields)
    else:
        pairs = zip(tests["inputs"], tests["outputs"], strict=True)
        examples = [{"input": _text(given), "output": _text(wanted)} for given, wanted in pairs]
        extra = script_examples(text_of(question))
        chosen = limits.chosen(examples or extra)
        readings = script_readings(python3_programs(programs, limits), docstring_of(question), chosen, extra, **fields)
    return Candidate(task_id=f"{SOURCE}/{number}", readings=readings)


def _tests(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    tests = json_field(row, "input_output", where)
    if tests is None:
        return {"inputs": [], "outputs": []}
    lists = [tests.get(name) for name in ("inputs", "outputs")] if isinstance(tests, dict) else [None]
    if not all(isinstance(each, list) for each in lists) or len({len(each or ()) for each in lists}) != 1:
        rule = 'must be {"inputs": [...], "outputs": [...]}, as many of one as of the other'
        raise InputError(f"{where}: input_output", value=tests, rule=rule, remedy="mend this row")
    return dict(tests)


def _functions(
    tests: Mapping[str, Any], programs: list[Any], starter: str, question: str, limits: Limits, fields: dict[str, Any]
) -> tuple[Any, ...]:
    name = str(tests["fn_name"])
    if not name.isidentifier():
        raise Rejected("usable", "fn_name is no name", name)
    solutions = [functions_of_class(each, name) for each in python3_programs(programs, limits)]
    try:
        unsolved = functions_of_class(completed_starter(starter, name), name)
    except NotSplit:
        unsolved = ""
    ways = [limits.chosen(way) for way in _calls(tests)]
    extra: tuple[Example, ...] = ()
    for code in [*solutions, unsolved]:
        try:
            extra = function_examples(text_of(question), name, parameters_of(find_function(code, name)))
            break
        except NotSplit:
            continue
    return function_readings(
        solutions, name, docstring_of(question), ways or [limits.chosen(extra)], extra, starter=unsolved, **fields
    )


def _calls(tests: Mapping[str, Any]) -> list[list[Example]]:
    inputs, outputs = tests["inputs"], tests["outputs"]
    if not all(isinstance(args, list) for args in inputs):
        raise Rejected("tested", "an input is no list of arguments")
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    ways = [[output[0] for output in outputs], outputs] if wrapped else [outputs]
    try:
        calls = [[call_example(a, {}, o) for a, o in zip(inputs, way, strict=True)] for way in ways]
    except NotPlainData as error:
        raise Rejected("tested", "a test is no plain data", str(error)) from error
    return [way for way in calls if way]


def _text(lines: Any) -> str:
    """Standard input or output: a string, or its lines."""
    if isinstance(lines, list):
        return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    return lines if isinstance(lines, str) else json.dumps(lines)
