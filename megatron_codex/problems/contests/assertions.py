"""Assertions of a test as calls with results: `assert f([1], 2) == 3`, as MBPP and human-eval have them.

In: source of check(candidate), or of assertions. Out: examples in tagged JSON. Anything but a comparison of one call
with one literal is left out: what it checks cannot be said as input and output.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.values import call_example, different_inputs
from megatron_codex.problems.functions import NotSplit, parse_source
from megatron_codex.tagged import NotPlainData


def asserted_examples(source: str, entry_point: str) -> tuple[Example, ...]:
    """In order, the first of each input. Source that is no Python has none."""
    try:
        tree = parse_source(source)
    except NotSplit:
        return ()
    found = (each for node in ast.walk(tree) if isinstance(node, ast.Assert) for each in _example(node, entry_point))
    return different_inputs(list(found))


def _example(node: ast.Assert, entry_point: str) -> Iterator[Example]:
    test = node.test
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.Is):
        return
    for call, value in ((test.left, test.comparators[0]), (test.comparators[0], test.left)):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in (entry_point, "candidate")
        ):
            try:
                kwargs = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
                args = [ast.literal_eval(arg) for arg in call.args]
                if len(kwargs) == len(call.keywords):
                    yield call_example(args, kwargs, ast.literal_eval(value))
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, NotPlainData):
                pass
            return
