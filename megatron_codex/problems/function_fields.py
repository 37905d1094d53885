"""A program and the name of one of its functions, as the fields of a Problem.

In: a whole program and a statement. Out: prompt (what stands around the function, its signature, the statement as its
docstring) and solution (its body). What stands after the function comes before it, since a prompt has no end.
"""

from __future__ import annotations

from typing import Any

from megatron_codex.problems.functions import around_function, find_function, join_context, split_function
from megatron_codex.problems.render import body_indent, build_prompt


def function_fields(code: str, entry_point: str, docstring: str) -> dict[str, Any]:
    """Arguments of Problem. code: tidy_source's. docstring: a clean_docstring; it replaces the function's own.

    Raises: NotSplit when there is no such function, or when it cannot be cut.
    """
    node = find_function(code, entry_point)
    parts = split_function(code, node)
    context = join_context(around_function(code, node))
    indent = body_indent(parts.body)
    return {
        "prompt": build_prompt(context=context, signature=parts.signature, docstring=docstring, indent=indent),
        "entry_point": entry_point,
        "canonical_solution": parts.body,
        "signature": parts.signature,
        "docstring": docstring,
        "body": parts.body,
        "context": context,
    }
