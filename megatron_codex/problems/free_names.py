"""Which names a module-level statement binds, and which it needs from its module.

In: a statement's syntax tree. Out: sets of names. The standard library's symtable decides what is local and global.
"""

from __future__ import annotations

import ast
import builtins
import copy
import symtable
import warnings
from collections.abc import Iterator

ALWAYS_THERE = frozenset(dir(builtins)) | {"__name__", "__doc__"}
"""Names that need no definition."""


class WritesGlobalError(Exception):
    """A function assigns to a global: its results may depend on earlier calls."""


def bound_names(statement: ast.stmt) -> set[str]:
    """Names that running the statement binds in the module."""
    names: set[str] = set()
    for node in _in_module_scope(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias) and node.name != "*":
            names.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def needed_names(statement: ast.stmt, *, skip_annotations: bool) -> set[str]:
    """Names that the statement takes from the module, now or when its functions are called.

    skip_annotations: the module has `from __future__ import annotations`, so they are never evaluated.
    Raises: WritesGlobalError.
    """
    if skip_annotations:
        statement = ast.fix_missing_locations(_WithoutAnnotations().visit(copy.deepcopy(statement)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = symtable.symtable(ast.unparse(statement), "<statement>", "exec")
    needed = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    for inner in _tables_below(table):
        for symbol in inner.get_symbols():
            if symbol.is_declared_global() and symbol.is_assigned():
                raise WritesGlobalError(symbol.get_name())
            if symbol.is_global() and symbol.is_referenced():
                needed.add(symbol.get_name())
    return needed


def attributes_of(name: str, statement: ast.stmt) -> set[str] | None:
    """The attributes that a statement takes from a name; None where it uses the name in any other way."""
    taken = [node for node in ast.walk(statement) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
    taken = [node for node in taken if isinstance(node.value, ast.Name) and node.value.id == name]
    uses = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and node.id == name]
    return {node.attr for node in taken} if len(taken) == len(uses) else None


def imports_in(statement: ast.stmt) -> list[ast.Import | ast.ImportFrom]:
    """All imports inside a statement, also those inside functions."""
    return [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]


def _in_module_scope(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run in the module's scope: not the insides of functions, classes, comprehensions."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return
    for child in ast.iter_child_nodes(node):
        yield from _in_module_scope(child)


def _tables_below(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _tables_below(child)


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(value=None)
        return self.generic_visit(node)
