"""The arguments of setup() in a setup.py, as far as they stand there as plain data. The file is parsed, never run.

In: a project's root. Out: keyword -> value; what would have to be computed is left out.
"""

from __future__ import annotations

import ast
import tokenize
from pathlib import Path
from typing import Any

_MAX_BYTES = 1 << 20


def setup_arguments(root: Path) -> dict[str, Any]:
    """Of the last call of setup(...) in setup.py; empty where there is none, or it cannot be parsed."""
    try:
        path = root / "setup.py"
        if path.stat().st_size > _MAX_BYTES:
            return {}
        with tokenize.open(path) as handle:
            tree = ast.parse(handle.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return {}
    names: dict[str, Any] = {}
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            _assign(statement.targets[0], statement.value, names)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) == "setup"]
    arguments: dict[str, Any] = {}
    for keyword in calls[-1].keywords if calls else ():
        value = _plain(keyword.value, names)
        if keyword.arg is not None and value is not None:
            arguments[keyword.arg] = value
        elif isinstance(value, dict):  # setup(**arguments)
            arguments.update((key, each) for key, each in value.items() if isinstance(key, str))
    return arguments


def _called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _assign(target: ast.expr, value: ast.expr, names: dict[str, Any]) -> None:
    plain = _plain(value, names)
    if isinstance(target, ast.Name) and plain is not None:
        names[target.id] = plain
    elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):  # extras["test"] = [...]
        owner, key = names.get(target.value.id), _plain(target.slice, names)
        if isinstance(owner, dict) and isinstance(key, str) and plain is not None:
            owner[key] = plain


def _plain(node: ast.expr, names: dict[str, Any]) -> Any:
    """The value of an expression of literals, names of such, and sums of such; None for any other."""
    try:
        return _value(node, names)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items: list[Any] = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                items += _value(item.value, names)
            elif (value := _plain(item, names)) is not None:
                items.append(value)
        return items
    if isinstance(node, ast.Dict):
        pairs = [
            (key and _plain(key, names), _plain(value, names))
            for key, value in zip(node.keys, node.values, strict=True)
        ]
        return {key: value for key, value in pairs if isinstance(key, str) and value is not None}
    if isinstance(node, ast.Call) and _called(node) == "dict" and not node.args:
        return {
            each.arg: value for each in node.keywords if (value := _plain(each.value, names)) is not None and each.arg
        }
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _value(node.left, names) + _value(node.right, names)
    return ast.literal_eval(node)
