"""A method taken out of its class: the class with what the method needs of it, the method last.

In: a class of a module, and the line of one of its methods. Out: the class's source without the method, in front of
which the Problem's context comes and after which its signature; and the class's tree, to see which names it needs.
Methods that neither it nor what stays with it names are left out; docstring, attributes and special methods stay.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.functions import (
    FunctionNode,
    FunctionParts,
    NotSplit,
    first_line,
    lines_of,
    parse_source,
    split_function,
    statement_source,
    tidy_source,
)

_PROPERTIES = ("property", "cached_property", "abstractproperty", "setter", "getter", "deleter")


@dataclass(frozen=True, kw_only=True)
class CutSource:
    """source + parts is the function, or the class with this method at its end."""

    source: str
    parts: FunctionParts
    tree: FunctionNode | ast.ClassDef
    """Of the same, to see which names it needs."""
    kind: str
    """function, generator, method, staticmethod or classmethod."""


def cut_class(module_source: str, owner: ast.ClassDef, line: int) -> CutSource:
    """line: of the module, where the method with its decorators starts.

    Raises: NotSplit for a layout that cannot be cut, a property, or a class whose other attributes need the method.
    """
    source = tidy_source(statement_source(module_source, owner))
    (tree,) = parse_source(source).body
    assert isinstance(tree, ast.ClassDef)
    places = {first_line(member): member for member in tree.body}
    method = places.get(line - first_line(owner) + 1)
    if not isinstance(method, FunctionNode) or len(places) < len(tree.body):
        raise NotSplit("members of the class share a line")
    kind = _kind_of(method)
    members = _needed_members(tree, method)
    pruned = ast.ClassDef(
        name=tree.name,
        bases=tree.bases,
        keywords=tree.keywords,
        decorator_list=tree.decorator_list,
        body=[*members, method],
    )
    return CutSource(
        source=_source_of(source, tree, members), parts=split_function(source, method), tree=pruned, kind=kind
    )


def _kind_of(method: FunctionNode) -> str:
    for decorator in method.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in _PROPERTIES:
            raise NotSplit("a property")
        if name in ("staticmethod", "classmethod"):
            return name
    return "method"


def _needed_members(tree: ast.ClassDef, method: FunctionNode) -> list[ast.stmt]:
    others = [each for each in tree.body if not (isinstance(each, FunctionNode) and each.name == method.name)]
    needed = [each for each in others if not isinstance(each, FunctionNode) or _is_special(each.name)]
    if any(method.name in _names_at_once(each) for each in needed):
        raise NotSplit("the class itself uses the method")
    while True:
        used = _names_in([*needed, method])
        more = [each for each in others if each in needed or (isinstance(each, FunctionNode) and each.name in used)]
        if len(more) == len(needed):
            return more
        needed = more


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _names_in(statements: Iterable[ast.stmt]) -> set[str]:
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        node.id for node in nodes if isinstance(node, ast.Name)
    }


def _names_at_once(member: ast.stmt) -> set[str]:
    """Names that are needed while the class is made."""
    if not isinstance(member, FunctionNode):
        return _names_in([member])
    outside = [*member.decorator_list, *member.args.defaults, *(each for each in member.args.kw_defaults if each)]
    return _names_in(ast.Expr(value=each) for each in outside)


def _source_of(source: str, tree: ast.ClassDef, members: list[ast.stmt]) -> str:
    lines = lines_of(source)
    pieces = ["".join(lines[: first_line(tree.body[0]) - 1])]
    for member in members:
        text = "".join(lines[first_line(member) - 1 : member.end_lineno])
        pieces.append("\n" + text if isinstance(member, FunctionNode) else text)
    return "".join(pieces) + ("\n" if members else "")


def examples_of_method(examples: Iterable[Example], kind: str, owner: str) -> list[Example]:
    """Those called on an object of this very class, as the entry point Class.method takes them.

    A subclass's object would need the subclass; what a classmethod gets is the class that it is called on.
    """
    if kind == "staticmethod":
        return list(examples)
    if kind == "method":
        return [each for each in examples if each["args"] and _class_of(each["args"][0]) == ("O", owner)]
    return [
        {**each, "args": each["args"][1:], **_moved_changes(each)}
        for each in examples
        if each["args"] and _class_of(each["args"][0]) == ("m", owner)
    ]


def _class_of(form: object) -> tuple[str, str]:
    """Tag and class of an object's form."""
    if isinstance(form, dict) and len(form) == 1:
        ((tag, payload),) = form.items()
        if tag in ("O", "N", "E", "m"):
            return ("m" if tag == "m" else "O"), payload[1]
    return "", ""


def _moved_changes(example: Example) -> Example:
    """Places of changed arguments, without the first one."""
    changes = {
        str(int(key) - 1) if key.isdecimal() else key: form
        for key, form in example.get("changes", {}).items()
        if key != "0"
    }
    return {"changes": changes} if changes else {}
