"""A function's signature where no solution gives it: from starter code, or from the calls and values in its examples.

In: starter code, or examples in tagged JSON. Out: a program with the function, or `def f(...):` with a newline.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Sequence

from megatron_codex.problems.argument_types import Shape
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.functions import FunctionNode, NotSplit, parse_source
from megatron_codex.tagged import decode

_MAX_DEPTH = 2
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def python_name(name: str) -> str:
    """A name of another language's custom in Python's: findAnagrams -> find_anagrams, list -> list_."""
    words = re.sub(r"\W+", "_", _WORD.sub("_", name)).strip("_").lower() or "value"
    words = f"_{words}" if words[0].isdigit() else words
    return f"{words}_" if keyword.iskeyword(words) or words in dir(builtins) else words


def parameters_of(node: FunctionNode) -> list[str]:
    """Names of the parameters that can be given by place, and of keyword-only ones."""
    return [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]


def completed_starter(code: str, entry_point: str) -> str:
    """Starter code, which may lack a body, as a program that defines the function or method. Raises: NotSplit."""
    for body in ("", "\n    pass\n", "\n        pass\n"):
        try:
            names = {
                node.name for node in ast.walk(parse_source(code.rstrip() + body)) if isinstance(node, FunctionNode)
            }
        except NotSplit:
            continue
        if entry_point in names:
            return code.rstrip() + (body or "\n")
    raise NotSplit(f"no function {entry_point} in the starter code")


def example_signature(entry_point: str, examples: Sequence[Example]) -> str:
    """From examples: names of keywords (arg1, arg2 for places), types of values; None is the default of what is not
    always given.

    >>> one, two = {"args": [[1]], "kwargs": {"k": 3}, "output": "x"}, {"args": [[]], "kwargs": {}, "raises": "E"}
    >>> example_signature("f", [one, two])
    'def f(arg1: list[int], k: int | None = None) -> str:\\n'
    """
    shapes: dict[str, Shape] = {}
    given: dict[str, int] = {}
    outputs = Shape()
    for example in examples:
        named = {f"arg{place}": value for place, value in enumerate(example["args"], 1)} | example["kwargs"]
        for name, form in named.items():
            shapes.setdefault(name, Shape()).see(decode(form))
            given[name] = given.get(name, 0) + 1
        if "output" in example:
            outputs.see(decode(example["output"]))
    optional = {name for name in shapes if given[name] < len(examples)}
    parameters = [f"{name}: {annotation(shapes[name])}" for name in shapes if name not in optional]
    parameters += [f"{name}: {_or_none(annotation(shapes[name]))} = None" for name in shapes if name in optional]
    returns = f" -> {annotation(outputs)}" if outputs.kinds else ""
    return f"def {entry_point}({', '.join(parameters)}){returns}:\n"


def annotation(shape: Shape | None, depth: int = 0) -> str:
    """The types seen in one place, as an annotation, to a depth of three; `object` where nothing was seen."""
    if shape is None or not shape.kinds:
        return "object"
    names = [_annotation_of(kind, shape, depth) for kind in shape.kinds if kind is not type(None)]
    if set(names) == {"int", "float"}:
        names = ["float"]
    return " | ".join([*dict.fromkeys(names), *(["None"] if type(None) in shape.kinds else [])])


def _annotation_of(kind: type, shape: Shape, depth: int) -> str:
    items = annotation(shape.items, depth + 1) if shape.items and depth < _MAX_DEPTH else ""
    if kind is tuple and items:
        return f"tuple[{items}, ...]"
    if kind is dict:
        return f"dict[str, {items}]" if items else "dict"
    return f"{kind.__name__}[{items}]" if items and kind in (list, set, frozenset) else kind.__name__


def _or_none(text: str) -> str:
    return text if text.endswith("None") else f"{text} | None"
