"""MBPP's rows (Austin et al. 2021, "Program Synthesis with Large Language Models") as Problems.

In: {text | prompt, code, task_id, test_list, test_setup_code | test_imports, challenge_test_list}. Out: a Problem.
Rule: the entry point is the function of `code` that every test calls; its signature and `text` as docstring are the
prompt; the rest of `code`, before and after the function, is the context before it; `test_list` is the test. The
challenge tests, which published figures do not use, are kept in the provenance.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.docstrings import clean_docstring
from megatron_codex.problems.function_fields import function_fields
from megatron_codex.problems.functions import FunctionNode, NotSplit, parse_source, tidy_source
from megatron_codex.records import Problem

SOURCE = "MBPP"
LICENCE = "CC-BY-4.0"

_INDENT = "    "


def problem_from_mbpp(row: Mapping[str, Any], *, where: str) -> Problem:
    """The Problem of one row. where: "file:line".

    Raises: InputError when a field has the wrong type, or when code and tests do not go together.
    """
    text = _text(row, "text" if "text" in row else "prompt", where)
    tests = _texts(row, "test_list", where)
    try:
        code = tidy_source(_text(row, "code", where))
        entry_point = _entry_point(code, tests)
        fields = function_fields(code, entry_point, clean_docstring(text))
        test = _check_source(entry_point, _set_up(row, where), tests)
    except NotSplit as error:
        raise InputError(
            f"{where}: code and test_list", rule=str(error), remedy="every test must call one function of code"
        ) from error
    return Problem(
        **fields,
        task_id=task_id_of_number(row["task_id"]),
        test=test,
        source=SOURCE,
        licence=LICENCE,
        provenance={"challenge_test_list": list(row.get("challenge_test_list") or [])},
    )


def task_id_of_number(number: object) -> str:
    """The task_id of a problem that MBPP numbers: "MBPP/2" for 2."""
    return f"{SOURCE}/{number}"


def _entry_point(code: str, tests: list[str]) -> str:
    functions = [node.name for node in parse_source(code).body if isinstance(node, FunctionNode)]
    called = [_called_names(test) for test in tests]
    shared = [name for name in functions if all(name in names for names in called)]
    if not shared:
        raise NotSplit("no function of code is called by every test")
    # Several: the outermost call of the first test.
    return min(set(shared), key=called[0].index)


def _called_names(test: str) -> list[str]:
    """Names called, the outermost first (ast.walk goes by depth)."""
    calls = [node for node in ast.walk(parse_source(test)) if isinstance(node, ast.Call)]
    return [call.func.id for call in calls if isinstance(call.func, ast.Name)]


def _check_source(entry_point: str, set_up: str, tests: list[str]) -> str:
    lines = [
        f"{entry_point} = candidate",
        *_statements(set_up),
        *(line for test in tests for line in _statements(test)),
    ]
    return "def check(candidate):\n" + "".join(f"{_INDENT}{line}\n" for line in lines)


def _statements(source: str) -> list[str]:
    """Lines that can be indented: as they stand, or written anew where a string spans several."""
    tidy = tidy_source(source) if source.strip() else ""
    tree = parse_source(tidy)
    indented = "if True:\n" + "".join(f"{_INDENT}{line}\n" for line in tidy.split("\n"))
    block = parse_source(indented if tidy else "if True:\n    pass").body[0]
    assert isinstance(block, ast.If)
    same = [ast.dump(statement) for statement in block.body] == [ast.dump(statement) for statement in tree.body]
    return [line for line in (tidy if same else ast.unparse(tree)).split("\n") if line.strip()]


def _set_up(row: Mapping[str, Any], where: str) -> str:
    # The sanitized edition has a list of imports where the full one has set-up code.
    if row.get("test_imports") is not None:
        return "\n".join(_texts(row, "test_imports", where, empty=True))
    return _text(row, "test_setup_code", where) if row.get("test_setup_code") else ""


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise InputError(f"{where}: {field}", value=value, rule="must be a string", remedy="mend this line")
    return value


def _texts(row: Mapping[str, Any], field: str, where: str, *, empty: bool = False) -> list[str]:
    value = row[field]
    strings = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if not strings or not (value or empty):
        raise InputError(
            f"{where}: {field}", value=value, rule="must be a list of strings, at least one", remedy="mend this line"
        )
    return list(value)
