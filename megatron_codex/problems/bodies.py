"""What a problem's program is, whatever its names and comments: a key that is the same for the same body.

In: a problem. Out: a digest of the syntax tree of context and function, docstrings, annotations and the names of its
own variables aside.
"""

from __future__ import annotations

import ast
import hashlib

from megatron_codex.problems.functions import FunctionNode, docstring_node, parse_source
from megatron_codex.records import Problem


def body_key(problem: Problem) -> str:
    """Equal for problems with the same body. Raises: NotSplit for a program that is no Python."""
    tree = parse_source(problem.prompt + problem.canonical_solution)
    for node in ast.walk(tree):
        if isinstance(node, FunctionNode):
            docstring = docstring_node(node)
            node.body = [each for each in node.body if each is not docstring] or [ast.Pass()]
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    if tree.body and isinstance(tree.body[-1], FunctionNode):
        _rename(tree.body[-1])
    return hashlib.sha256(ast.dump(tree).encode(errors="surrogatepass")).hexdigest()


def _rename(function: FunctionNode) -> None:
    """The function and its own variables, by the order in which they come."""
    stored = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    stored |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
    numbers: dict[str, str] = {function.name: "function"}
    function.name = "function"
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.arg = numbers.setdefault(node.arg, f"variable {len(numbers)}")
        elif isinstance(node, ast.Name) and (node.id in stored or node.id in numbers):
            node.id = numbers.setdefault(node.id, f"variable {len(numbers)}")
