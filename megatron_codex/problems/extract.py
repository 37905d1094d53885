"""A traced function taken out of its project: context, signature, docstring, body.

In: what the tracer says of a function, the project's modules as source. Out: an ExtractedFunction or NotExtractedError.
Taken are functions of a module, generators among them, and methods of its classes. Not taken, each with its reason:
"nested" (it may depend on the function around it), "async", "property", "class inside another", "lambda".
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.context import ContextLimits, NotExtractedError, build_context
from megatron_codex.problems.example_names import places_in, settle_names
from megatron_codex.problems.functions import (
    FunctionNode,
    FunctionParts,
    NotSplit,
    find_function,
    first_line,
    parse_source,
    split_function,
    statement_source,
    tidy_source,
)
from megatron_codex.problems.methods import CutSource, cut_class, examples_of_method
from megatron_codex.problems.modules import ProjectModules, SourceModule
from megatron_codex.problems.render import body_indent, build_prompt
from megatron_codex.problems.traces import TracedFunction

MIN_EXAMPLES = 2
"""Calls that a function must have: with one, a constant passes."""


@dataclass(frozen=True, kw_only=True)
class ExtractedFunction:
    """A function that may stand alone (the replay says whether it does)."""

    traced: TracedFunction
    module: str
    """Dotted."""
    entry_point: str
    """function, or Class.method."""
    kind: str
    """function, generator, method, staticmethod or classmethod."""
    context: str
    parts: FunctionParts
    examples: list[Example]
    """Those of the traced calls that the entry point can be called with outside the project."""
    test_context: str = ""
    """What the tests define: functions and classes of the project's test files that the examples name."""

    @property
    def prompt(self) -> str:
        return build_prompt(
            context=self.context,
            signature=self.parts.signature,
            docstring=self.parts.docstring,
            indent=body_indent(self.parts.body),
        )

    @property
    def source(self) -> str:
        """The program that the project has: prompt and body."""
        return self.prompt + self.parts.body


def extract_function(
    traced: TracedFunction, modules: ProjectModules, limits: ContextLimits, *, max_body_lines: int
) -> ExtractedFunction:
    """limits: of the context. Raises: NotExtractedError with the reason."""
    module = modules.of_file(traced.file)
    if module is None:
        raise NotExtractedError("no source", traced.file)
    *owners, node = _place_of(traced, module)
    if isinstance(node, ast.ClassDef | ast.AsyncFunctionDef):
        raise NotExtractedError("async", node.name)
    if any(isinstance(owner, FunctionNode) for owner in owners):
        raise NotExtractedError("nested", ".".join(owner.name for owner in owners))
    if len(owners) > 1:
        raise NotExtractedError("class inside another", ".".join(owner.name for owner in owners))
    try:
        cut = _cut_method(node, owners[0], module) if owners else _cut_function(node, module)
    except NotSplit as error:
        raise NotExtractedError("layout", str(error)) from error
    if cut.parts.body.count("\n") > max_body_lines:
        raise NotExtractedError("body too long", f"more than {max_body_lines} lines")
    left = replace(limits, max_lines=limits.max_lines - cut.source.count("\n"))
    if left.max_lines < 0:
        raise NotExtractedError("context too long", f"more than {limits.max_lines} lines")
    own = examples_of_method(traced.examples, cut.kind, owners[0].name) if owners else traced.examples
    if not own:
        raise NotExtractedError("called on no plain object of its class", cut.kind)
    context, test_context, examples = settle_names(
        own, modules, limits, lambda also: build_context(cut.tree, module, modules, left, also=also)
    )
    if len(examples) < min(MIN_EXAMPLES, len(own)):
        raise NotExtractedError("its calls name what cannot be brought along", str(sorted(places_in(own[0]))))
    return ExtractedFunction(
        traced=traced,
        module=module.name,
        entry_point=".".join(each.name for each in (*owners, node)),
        kind=cut.kind,
        context=context + cut.source,
        parts=cut.parts,
        examples=examples,
        test_context=test_context,
    )


def _cut_function(node: FunctionNode, module: SourceModule) -> CutSource:
    source = tidy_source(_without_margin(module.source, node))
    kind = "generator" if _is_generator(node) else "function"
    return CutSource(source="", parts=split_function(source, find_function(source, node.name)), tree=node, kind=kind)


def _cut_method(node: FunctionNode, owner: FunctionNode | ast.ClassDef, module: SourceModule) -> CutSource:
    if owner.col_offset or not isinstance(owner, ast.ClassDef):
        raise NotExtractedError("class under a condition", owner.name)
    return cut_class(module.source, owner, first_line(node))


def _place_of(traced: TracedFunction, module: SourceModule) -> list[FunctionNode | ast.ClassDef]:
    """The traced function after the functions and classes around it. Raises: NotExtractedError."""
    for path in _definitions(module.tree, []):
        if path[-1].name == traced.name and first_line(path[-1]) == traced.line:
            return path
    raise NotExtractedError("not in the source", f"line {traced.line}")


def _definitions(
    node: ast.AST, around: list[FunctionNode | ast.ClassDef]
) -> Iterator[list[FunctionNode | ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode | ast.ClassDef):
            yield [*around, child]
            yield from _definitions(child, [*around, child])
        elif not isinstance(child, ast.expr):
            yield from _definitions(child, around)


def _without_margin(source: str, node: FunctionNode) -> str:
    """The lines of a function that may stand under an `if` or `try`, moved to the left. Raises: NotSplit."""
    text = statement_source(source, node)
    moved = textwrap.dedent(text)
    if [ast.dump(each) for each in parse_source(moved).body] != [ast.dump(node)]:
        raise NotSplit("a text in it depends on the margin")
    return moved


def _is_generator(node: FunctionNode) -> bool:
    pending: list[ast.AST] = list(node.body)
    while pending:
        each = pending.pop()
        if isinstance(each, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(each, FunctionNode | ast.ClassDef | ast.Lambda):
            pending += ast.iter_child_nodes(each)
    return False
