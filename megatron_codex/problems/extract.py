"""A traced function taken out of its project: context, signature, docstring, body.

In: what the tracer says of a function, the project's modules as source. Out: an ExtractedFunction or NotExtractedError.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from megatron_codex.problems.context import NotExtractedError, build_context
from megatron_codex.problems.functions import (
    FunctionNode,
    FunctionParts,
    NotSplit,
    find_function,
    first_line,
    split_function,
    statement_source,
    tidy_source,
)
from megatron_codex.problems.modules import ProjectModules
from megatron_codex.problems.render import body_indent, build_prompt
from megatron_codex.problems.traces import TracedFunction


@dataclass(frozen=True, kw_only=True)
class ExtractedFunction:
    """A function that may stand alone (the replay says whether it does)."""

    traced: TracedFunction
    module: str
    """Dotted."""
    context: str
    parts: FunctionParts

    @property
    def prompt(self) -> str:
        return build_prompt(
            context=self.context,
            signature=self.parts.signature,
            docstring=self.parts.docstring,
            indent=body_indent(self.parts.body),
        )


def extract_function(
    traced: TracedFunction, modules: ProjectModules, *, max_context_lines: int, max_body_lines: int
) -> ExtractedFunction:
    """Raises: NotExtractedError with the reason."""
    module = modules.of_file(traced.file)
    if module is None:
        raise NotExtractedError("no source", traced.file)
    node = next((each for each in module.tree.body if _is_traced(each, traced)), None)
    if not isinstance(node, FunctionNode):
        raise NotExtractedError("not at module level", f"line {traced.line}")
    try:
        source = tidy_source(statement_source(module.source, node))
        parts = split_function(source, find_function(source, traced.name))
    except NotSplit as error:
        raise NotExtractedError("layout", str(error)) from error
    if parts.body.count("\n") > max_body_lines:
        raise NotExtractedError("body too long", f"more than {max_body_lines} lines")
    context = build_context(node, module, modules, max_lines=max_context_lines)
    return ExtractedFunction(traced=traced, module=module.name, context=context, parts=parts)


def _is_traced(node: ast.stmt, traced: TracedFunction) -> bool:
    return isinstance(node, FunctionNode) and node.name == traced.name and first_line(node) == traced.line
