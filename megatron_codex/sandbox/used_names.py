"""What a test takes from the reference program: read off the sources, without running them.

In: prompt, test, reference. Out: the classes that the prompt gives; whether a test uses a name of the reference. Both
are kept for the problems judged last, since a problem has many samples.
"""

from __future__ import annotations

import ast
import warnings
from functools import lru_cache

_NUM_KEPT = 2048
_LOOK_UP_NAMES = frozenset(
    ["globals", "locals", "vars", "dir", "eval", "exec", "compile", "__import__", "sys", "inspect"]
)
"""A test with one of these may use names that do not stand in it."""


@lru_cache(maxsize=_NUM_KEPT)
def given_classes(prompt: str, entry_point: str) -> tuple[str, ...]:
    """The classes that a prompt defines whole: not its last statement, which the completion goes on with.

    For the entry point Class.method also its class, the fields of whose objects are data.
    """
    for end in ("    pass\n", "        pass\n", ""):
        tree = _parse(prompt + end)
        if tree is not None and tree.body:
            names = dict.fromkeys(name for node in tree.body[:-1] for name in _names_of_classes(node))
            owner, _, method = entry_point.partition(".")
            return tuple(name for name in names | ({owner: None} if method else {}) if name != entry_point)
    return ()


@lru_cache(maxsize=_NUM_KEPT)
def uses_reference(test: str, reference: str, entry_point: str) -> bool:
    """Whether the test names anything that the reference binds at its top level, the entry point apart.

    True in doubt: for what is no Python, `import *`, and tests that look names up.
    """
    tests, references = _parse(test), _parse(reference)
    if tests is None or references is None:
        return True
    used = {node.id for node in ast.walk(tests) if isinstance(node, ast.Name)}
    used |= {name for node in ast.walk(tests) if isinstance(node, ast.Global) for name in node.names}
    imported = {alias.name for node in ast.walk(tests) if isinstance(node, ast.Import) for alias in node.names}
    bound = _names_bound(references.body)
    return bool((used | imported) & _LOOK_UP_NAMES) or "*" in bound or bool((used - {entry_point}) & bound)


def _parse(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes of other people's source
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _names_of_classes(node: ast.stmt) -> list[str]:
    """`class A:`, and `A = namedtuple(...)`; of a call that makes no class the name is not used."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _names_bound(statements: list[ast.stmt]) -> set[str]:
    """By these statements, in their own scope or by `global` in any."""
    bound: set[str] = set()
    for statement in statements:
        bound |= {name for node in ast.walk(statement) if isinstance(node, ast.Global) for name in node.names}
    pending: list[ast.AST] = list(statements)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)  # what is inside is bound there, but for decorators and defaults with :=
            pending += [part for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            bound.add(node.rest)
        pending += ast.iter_child_nodes(node)
    return bound
