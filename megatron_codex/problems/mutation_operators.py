"""Small faults that a programmer makes, as changes of a syntax tree.

In: a node of a function, and the names of the function's arguments. Out: the nodes that may stand in its place, by the
name of the operator. No node that is given is changed; the new ones share its children.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterator, Sequence

Operator = Callable[[ast.AST, Sequence[str]], Iterator[ast.AST]]

_DELETED = (
    ast.Expr
    | ast.Assign
    | ast.AugAssign
    | ast.Raise
    | ast.Return
    | ast.Assert
    | ast.Delete
    | ast.If
    | ast.For
    | ast.While
)

_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
_ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Add, ast.FloorDiv),
    ast.Div: (ast.FloorDiv, ast.Mult),
    ast.FloorDiv: (ast.Div, ast.Mult),
    ast.Mod: (ast.FloorDiv, ast.Mult),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd, ast.BitXor),
    ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_PAIRS = (
    "min max, any all, sorted list, reversed iter, floor ceil, lower upper, lstrip rstrip, startswith endswith, "
    "find rfind, index rindex, split rsplit, partition rpartition, ljust rjust, isdigit isalpha, islower isupper, "
    "removeprefix removesuffix, union intersection, append appendleft, pop popleft, keys values, add discard, "
    "title capitalize, search match, takewhile dropwhile, bisect_left bisect_right, append extend, round int"
)
_INSTEAD: dict[str, list[str]] = {}
for _pair in _PAIRS.split(", "):
    for _one, _other in itertools.permutations(_pair.split()):
        _INSTEAD.setdefault(_one, []).append(_other)
_INSTEAD |= {"strip": ["lstrip", "rstrip"], "sum": ["len"], "len": ["bool"], "set": ["list"]}


def _comparison(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    yield from _compared(node, _NEGATED)


def _boundary(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    yield from _compared(node, _BOUNDARY)


def _compared(node: ast.AST, table: dict[type[ast.cmpop], type[ast.cmpop]]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            if type(operator) in table:
                ops = [*node.ops[:place], table[type(operator)](), *node.ops[place + 1 :]]
                yield ast.Compare(left=node.left, ops=ops, comparators=node.comparators)


def _arithmetic(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp):
        for other in _ARITHMETIC.get(type(node.op), ()):
            yield ast.BinOp(left=node.left, op=other(), right=node.right)
    elif isinstance(node, ast.AugAssign):
        for other in _ARITHMETIC.get(type(node.op), ()):
            yield ast.AugAssign(target=node.target, op=other(), value=node.value)
        yield ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno)
    elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        yield node.operand


def _boolean(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(op=ast.Or() if isinstance(node.op, ast.And) else ast.And(), values=node.values)
        for place in range(len(node.values)):
            left = [*node.values[:place], *node.values[place + 1 :]]
            yield left[0] if len(left) == 1 else ast.BoolOp(op=node.op, values=left)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


def _condition(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    """Negated, always true, never true. Loops that then have no end are ended by the judge's limits."""
    if isinstance(node, ast.If):
        for test in _other_tests(node.test):
            yield ast.If(test=test, body=node.body, orelse=node.orelse)
    elif isinstance(node, ast.While):
        yield ast.While(test=ast.UnaryOp(op=ast.Not(), operand=node.test), body=node.body, orelse=node.orelse)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
        yield ast.IfExp(test=node.test, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.comprehension):
        for place, test in enumerate(node.ifs):
            for other in _other_tests(test)[:2]:
                ifs = [*node.ifs[:place], other, *node.ifs[place + 1 :]]
                yield ast.comprehension(target=node.target, iter=node.iter, ifs=ifs, is_async=node.is_async)


def _other_tests(test: ast.expr) -> list[ast.expr]:
    return [ast.UnaryOp(op=ast.Not(), operand=test), ast.Constant(value=True), ast.Constant(value=False)]


def _constant(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    """Numbers off by one, texts emptied and lengthened, True and False and None exchanged."""
    if not isinstance(node, ast.Constant):
        return
    value = node.value
    others: tuple[str | bytes | float | None, ...] = ()
    if value is None:
        others = (0,)
    elif isinstance(value, bool):
        others = (not value,)
    elif isinstance(value, int | float):
        others = (value + 1, value - 1, 0 if value else 2)
    elif isinstance(value, str):
        others = ("", value + "x") if value else ("x",)
    elif isinstance(value, bytes):
        others = (b"", value + b"x") if value else (b"x",)
    yield from (ast.Constant(value=other) for other in others)


def _statement(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, _DELETED):
        yield ast.Pass()
    elif isinstance(node, ast.Try):
        yield from node.body[:1] if len(node.body) == 1 else []


def _return(node: ast.AST, arguments: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Return) and node.value is not None:
        values: list[ast.expr] = [ast.Constant(value=None), ast.Constant(value=0), ast.List(elts=[], ctx=ast.Load())]
        values += [ast.Constant(value=""), ast.Constant(value=True), ast.Constant(value=False)]
        values += [ast.Name(id=name, ctx=ast.Load()) for name in arguments]
        yield from (ast.Return(value=value) for value in values)


def _slice(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    """Bounds left out and shifted by one; indices shifted by one."""
    if isinstance(node, ast.Slice):
        for name in ("lower", "upper", "step"):
            if (bound := getattr(node, name)) is not None:
                for other in (None, *([] if name == "step" else _shifted(bound))):
                    changed = ast.Slice(lower=node.lower, upper=node.upper, step=node.step)
                    setattr(changed, name, other)
                    yield changed
    elif isinstance(node, ast.Subscript) and not isinstance(node.slice, ast.Slice | ast.Constant | ast.Tuple):
        for index in _shifted(node.slice):
            yield ast.Subscript(value=node.value, slice=index, ctx=node.ctx)


def _shifted(node: ast.expr) -> list[ast.expr]:
    one = ast.Constant(value=1)
    return [ast.BinOp(left=node, op=ast.Add(), right=one), ast.BinOp(left=node, op=ast.Sub(), right=one)]


def _loop(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.Break):
        yield from (ast.Continue(), ast.Pass())
    elif isinstance(node, ast.Continue):
        yield from (ast.Break(), ast.Pass())
    elif isinstance(node, ast.For):
        yield ast.For(
            target=node.target,
            iter=node.iter,
            body=[*node.body, ast.Break()],
            orelse=node.orelse,
            lineno=node.lineno,
        )
    elif isinstance(node, ast.While):
        yield ast.While(test=node.test, body=[*node.body, ast.Break()], orelse=node.orelse)


def _arguments(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    """Two neighbours exchanged, one by name left out."""
    if isinstance(node, ast.Call):
        args = node.args
        for place in range(len(args) - 1):
            swapped = [*args[:place], args[place + 1], args[place], *args[place + 2 :]]
            yield ast.Call(func=node.func, args=swapped, keywords=node.keywords)
        for place in range(len(node.keywords)):
            keywords = [*node.keywords[:place], *node.keywords[place + 1 :]]
            yield ast.Call(func=node.func, args=args, keywords=keywords)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow):
        yield ast.BinOp(left=node.right, op=node.op, right=node.left)


def _call(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    """Another function of the same use; no call at all, but its argument or the object itself."""
    if not isinstance(node, ast.Call):
        return
    function = node.func
    if isinstance(function, ast.Attribute):
        for other in _INSTEAD.get(function.attr, ()):
            attribute = ast.Attribute(value=function.value, attr=other, ctx=function.ctx)
            yield ast.Call(func=attribute, args=node.args, keywords=node.keywords)
        yield function.value
    elif isinstance(function, ast.Name):
        for other in _INSTEAD.get(function.id, ()):
            yield ast.Call(func=ast.Name(id=other, ctx=ast.Load()), args=node.args, keywords=node.keywords)
    if node.args and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]


def _handler(node: ast.AST, _: Sequence[str]) -> Iterator[ast.AST]:
    if isinstance(node, ast.ExceptHandler):
        yield ast.ExceptHandler(type=node.type, name=node.name, body=[ast.Raise()])
        yield ast.ExceptHandler(type=node.type, name=node.name, body=[ast.Pass()])


OPERATORS: dict[str, Operator] = {
    "comparison": _comparison,
    "boundary": _boundary,
    "arithmetic": _arithmetic,
    "boolean": _boolean,
    "condition": _condition,
    "constant": _constant,
    "statement": _statement,
    "return": _return,
    "slice": _slice,
    "loop": _loop,
    "arguments": _arguments,
    "call": _call,
    "handler": _handler,
}
