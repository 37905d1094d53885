"""Bodies that no right test lets pass: constants, the arguments as they are, their length, their text.

In: a prompt, its own solution, and the values that its tests expect. Out: bodies by name, that of the solution left
out, for where a function is as simple as that. Tests that one of them passes say nothing about a solution.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from megatron_codex.problems.functions import NotSplit, docstring_node, find_dotted, parse_source
from megatron_codex.problems.render import body_indent
from megatron_codex.records import Problem
from megatron_codex.restorable_objects import decode_restorable
from megatron_codex.tagged import NotPlainData

_CONSTANTS = ("None", "True", "False", "0", "1", "-1", "''", "[]", "()", "{}", "set()")
_OF_THE_FIRST = ("len({0})", "str({0})", "list({0})", "not {0}", "bool({0})", "sorted({0})", "{0}[0]")
_MAX_EXPECTED = 10
_MAX_EXPECTED_CHARS = 200


def trivial_bodies(prompt: str, solution: str, entry_point: str, expected: Iterable[str] = ()) -> dict[str, str]:
    """name -> body. expected: expressions of values that the tests expect. Raises: NotSplit for what is no Python."""
    function = find_dotted(parse_source(prompt + solution), entry_point)
    if isinstance(function, ast.ClassDef):
        raise NotSplit(f"{entry_point} is a class")
    arguments = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    arguments += [each.arg for each in (function.args.vararg, function.args.kwarg) if each]
    values = dict.fromkeys([*_CONSTANTS, *expected])
    values |= dict.fromkeys([*arguments, *(form.format(name) for name in arguments[:1] for form in _OF_THE_FIRST)])
    docstring = docstring_node(function)
    own = [ast.unparse(statement) for statement in function.body if statement is not docstring]
    indent = body_indent(solution)
    return {f"return {value}": f"{indent}return {value}\n" for value in values if own != [f"return {value}"]}


def trivial_bodies_of(problem: Problem) -> dict[str, str]:
    """With what its io_examples expect, and the constants that its test compares with."""
    outputs = [example["output"] for example in problem.io_examples if "output" in example]
    expected = [*map(expression_of, outputs), *_compared_constants(problem.test)]
    frequent = sorted(set(filter(None, expected)), key=lambda each: (-expected.count(each), each))
    return trivial_bodies(problem.prompt, problem.canonical_solution, problem.entry_point, frequent[:_MAX_EXPECTED])


def expression_of(form: Any) -> str:
    """Of a short value of builtin types; "" for any other."""
    try:
        text = repr(decode_restorable(form))
        ast.literal_eval(text)
    except (NotPlainData, ValueError, SyntaxError, RecursionError, MemoryError):
        return ""
    return text if len(text) <= _MAX_EXPECTED_CHARS else ""


def _compared_constants(test: str) -> list[str]:
    try:
        tree = parse_source(test)
    except NotSplit:
        return []
    compared = [each for node in ast.walk(tree) if isinstance(node, ast.Compare) for each in node.comparators]
    texts = [ast.unparse(each) for each in compared if not any(isinstance(part, ast.Name) for part in ast.walk(each))]
    return [text for text in texts if len(text) <= _MAX_EXPECTED_CHARS]
