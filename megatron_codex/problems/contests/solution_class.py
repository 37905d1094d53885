"""LeetCode's class Solution turned into functions: what is asked for is one of its methods.

In: a program with `class Solution`. Out: the same with its methods as functions of the module, `self` gone, and imports
added for the names that LeetCode gives without one. A class that keeps state is rejected. Layout and comments stay.
"""

from __future__ import annotations

import ast
import copy
import textwrap
from collections.abc import Iterator

from megatron_codex.problems.contests.candidate import Rejected
from megatron_codex.problems.contests.given_names import missing_imports, structures_of
from megatron_codex.problems.functions import FunctionNode, NotSplit, first_line, parse_source, statement_source

CLASS = "Solution"


def class_of(code: str) -> ast.ClassDef | None:
    """The class Solution of a program. Raises: NotSplit for text that is no Python."""
    found = [node for node in parse_source(code).body if isinstance(node, ast.ClassDef) and node.name == CLASS]
    return found[-1] if found else None


def method_names(code: str) -> list[str]:
    """The methods of class Solution, in order. Raises: NotSplit."""
    node = class_of(code)
    return [each.name for each in node.body if isinstance(each, FunctionNode)] if node else []


def functions_of_class(code: str, method: str) -> str:
    """The program with functions; as it was where it has no such class. Raises: Rejected."""
    try:
        node = class_of(code)
    except NotSplit as error:
        raise Rejected("referenced", "no solution is Python 3", str(error)) from error
    if node is None or method not in method_names(code):
        return code
    if node.decorator_list or any(ast.unparse(base) != "object" for base in node.bases):
        raise Rejected("usable", "class Solution has a base or a decorator")
    pieces = list(_functions(code, node))
    lines = code.split("\n")
    around = ["\n".join(lines[: first_line(node) - 1]), "\n".join(lines[node.end_lineno or 0 :])]
    text = "\n\n\n".join(piece.strip("\n") for piece in (around[0], *pieces, around[1]) if piece.strip()) + "\n"
    return _with_imports(text)


def _functions(code: str, node: ast.ClassDef) -> Iterator[str]:
    methods = [each for each in node.body if isinstance(each, FunctionNode)]
    names = {each.name for each in methods}
    for statement in node.body:
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not isinstance(statement, FunctionNode) and not is_text and not isinstance(statement, ast.Pass):
            raise Rejected("usable", "class Solution keeps state", f"line {statement.lineno}")
    bound = {
        n.id for each in methods for n in ast.walk(each) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    bound |= {n.arg for each in methods for n in ast.walk(each) if isinstance(n, ast.arg)}
    if "__init__" in names or bound & names:
        raise Rejected("usable", "class Solution keeps state", ", ".join(sorted(bound & names)) or "__init__")
    for each in methods:
        yield _function(code, each, names)


def _function(code: str, node: ast.FunctionDef | ast.AsyncFunctionDef, names: set[str]) -> str:
    changed = copy.deepcopy(node)
    is_static = [ast.unparse(each) for each in changed.decorator_list] == ["staticmethod"]
    if is_static:
        changed.decorator_list = []
    arguments = [*changed.args.posonlyargs, *changed.args.args]
    if not is_static and not arguments:
        raise Rejected("usable", "a method without self", node.name)
    receiver = "" if is_static else (changed.args.posonlyargs or changed.args.args).pop(0).arg
    changed = _WithoutSelf(receiver, names).visit(changed)
    if any(isinstance(each, ast.Name) and each.id in (receiver, CLASS) for each in ast.walk(changed)):
        raise Rejected("usable", "class Solution keeps state", node.name)
    wanted = ast.dump(parse_source(ast.unparse(ast.fix_missing_locations(changed))))
    as_it_stands = _cut_self(textwrap.dedent(statement_source(code, node)), receiver, names)
    try:
        if ast.dump(parse_source(as_it_stands)) == wanted:
            return as_it_stands
    except NotSplit:
        pass
    return ast.unparse(changed)


class _WithoutSelf(ast.NodeTransformer):
    """self.method -> method, and Solution.method and Solution().method, too."""

    def __init__(self, receiver: str, names: set[str]) -> None:
        self._receivers = {receiver, CLASS, f"{CLASS}()"} - {""}
        self._names = names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr in self._names and ast.unparse(node.value) in self._receivers:
            return ast.Name(id=node.attr, ctx=node.ctx)
        return self.generic_visit(node)


def _cut_self(source: str, receiver: str, names: set[str]) -> str:
    """The same on the text, by plain replacement: the caller compares the trees."""
    for name in names:
        source = source.replace(f"{receiver}.{name}(", f"{name}(")
    head, bracket, rest = source.partition(f"({receiver}")
    return head + "(" + rest.lstrip().removeprefix(",").lstrip() if bracket and receiver else source


def _with_imports(code: str) -> str:
    """Imports put before for names that LeetCode gives. Raises: Rejected for the classes that it gives."""
    structures = structures_of(code)
    if structures:
        raise Rejected("usable", f"needs {structures[0]}", "objects of this class cannot be handed over")
    lines = missing_imports(code)
    return "\n".join([*lines, "", "", code]) if lines else code
