"""Wrong programs made of a right one: each differs from it by one small fault.

In: source, and the function to change in it. Out: Mutants, no two alike and none whose bytecode is the original's.
They say how strong tests are: a test kills a mutant that it fails (DeMillo, Lipton and Sayward 1978, "Hints on test
data selection"). A mutant that no test kills may be equivalent to the original in a way that bytecode does not show.
"""

from __future__ import annotations

import ast
import itertools
import marshal
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from megatron_codex.problems.functions import FunctionNode, docstring_node, find_dotted, parse_source
from megatron_codex.problems.mutation_operators import OPERATORS


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """source: the whole program with one fault; without comments, as it is written from the syntax tree."""

    operator: str
    """A key of mutation_operators.OPERATORS."""
    line: int
    """Of the given source, from 1."""
    source: str


def make_mutants(source: str, *, name: str = "", limit: int | None = None, seed: int = 0) -> list[Mutant]:
    """At most `limit` mutants of one function, spread evenly over the operators; all of them when it is None.

    name: `function` or `Class.method`; "" for a script, which is changed anywhere. The same arguments give the same
    mutants in every process. Raises: NotSplit for source that is no Python or has no such function.
    """
    tree = parse_source(source)
    seen: set[bytes | None] = {None, _bytecode(ast.unparse(tree))}
    mutants: list[Mutant] = []
    for edit in _spread(_edits(find_dotted(tree, name) if name else tree), random.Random(seed)):
        if len(mutants) == limit:
            break
        text = edit.rendered(tree)
        bytecode = _bytecode(text)
        if bytecode not in seen:
            seen.add(bytecode)
            mutants.append(Mutant(operator=edit.operator, line=edit.line, source=text))
    return mutants


@dataclass(frozen=True)
class _Edit:
    """One node of a tree replaced: holder.field, or holder.field[place] where that is a list."""

    operator: str
    line: int
    holder: ast.AST
    field: str
    place: int | None
    new: ast.AST

    def rendered(self, tree: ast.Module) -> str:
        """The tree's source with this edit; the tree itself is as before. "" where it cannot be written."""
        old = self._put(self.new)
        try:
            return ast.unparse(tree) + "\n"
        except ValueError:  # an f-string with a backslash in its braces
            return ""
        finally:
            self._put(old)

    def _put(self, node: Any) -> Any:
        old = getattr(self.holder, self.field)
        if self.place is None:
            setattr(self.holder, self.field, node)
            return old
        old[self.place], old = node, old[self.place]
        return old


def _edits(root: ast.AST) -> dict[str, list[_Edit]]:
    """All edits below a node, by operator."""
    edits: dict[str, list[_Edit]] = {operator: [] for operator in OPERATORS}
    arguments = _arguments(root)
    for holder, field, place, node in _sites(root):
        line = getattr(node, "lineno", getattr(holder, "lineno", 1))
        for name, operator in OPERATORS.items():
            edits[name] += [_Edit(name, line, holder, field, place, new) for new in operator(node, arguments)]
    return edits


def _arguments(root: ast.AST) -> list[str]:
    if not isinstance(root, FunctionNode):
        return []
    return [each.arg for each in (*root.args.posonlyargs, *root.args.args, *root.args.kwonlyargs)]


def _sites(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(holder, field, place, node) of all that runs when the function is called, and of its default values."""
    docstring = docstring_node(node) if isinstance(node, FunctionNode) else None
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and child is not docstring:
                yield node, field, place, child
                yield from _sites(child)


def _spread(edits: dict[str, list[_Edit]], draw: random.Random) -> Iterator[_Edit]:
    """One of each operator, then a second of each, ...; in each operator's list by chance."""
    for group in edits.values():
        draw.shuffle(group)
    for turn in itertools.zip_longest(*edits.values()):
        yield from (edit for edit in turn if edit is not None)


def _bytecode(source: str) -> bytes | None:
    """Equal for programs that run the same instructions; None for what does not compile."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = compile(source, "", "exec", dont_inherit=True) if source else None
    except (SyntaxError, ValueError, RecursionError):
        return None
    # Version 2 of marshal knows no references, which depend on more than the value.
    return marshal.dumps(_without_lines(code), 2) if code else None


def _without_lines(code: CodeType) -> CodeType:
    consts = tuple(_without_lines(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_consts=consts, co_firstlineno=1, co_linetable=b"")
