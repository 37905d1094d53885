"""One function of a source text, cut into the fields of a Problem: context, signature, docstring, body.

In: source and a function. Out: `FunctionParts`, made of the source's own lines, so that comments and layout stay; only
line ends, trailing spaces and leading tabs are made regular, and only where the syntax tree stays the same.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from megatron_codex.problems.docstrings import DEFAULT_INDENT, clean_docstring

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


class NotSplit(ValueError):
    """The source does not parse, or the function is missing or laid out in a way that cannot be cut."""


@dataclass(frozen=True, kw_only=True)
class FunctionParts:
    """signature + docstring + body is the function; signature and body end in a newline."""

    signature: str
    """Decorators and the def lines (and imports, where they stand before the docstring)."""
    docstring: str
    """The docstring's text, clean (docstrings.clean_docstring)."""
    body: str
    """The indented statements after the docstring."""


def parse_source(source: str) -> ast.Module:
    """The syntax tree. Raises NotSplit for text that is no Python."""
    try:
        with warnings.catch_warnings():
            # Other people's source: its invalid escapes are no matter of ours.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotSplit(f"not Python: {error}") from error


def tidy_source(source: str) -> str:
    """Unix line ends, no trailing spaces, a leading tab as four spaces, one final newline.

    A step is left out where it would change the syntax tree (text inside strings, tabs beside spaces).
    Raises: NotSplit for text that is no Python.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n").rstrip() + "\n"
    tree = ast.dump(parse_source(source))
    for step in (_strip_line_ends, _expand_leading_tabs):
        candidate = step(source)
        try:
            if ast.dump(parse_source(candidate)) == tree:
                source = candidate
        except NotSplit:
            continue
    return source


def find_function(source: str, name: str) -> FunctionNode:
    """The module-level function of this name, the last if there are several. Raises NotSplit when there is none."""
    nodes = [node for node in parse_source(source).body if isinstance(node, FunctionNode) and node.name == name]
    if not nodes:
        raise NotSplit(f"no function {name} at module level")
    return nodes[-1]


def find_dotted(tree: ast.Module, name: str) -> FunctionNode | ast.ClassDef:
    """What `function` or `Class.method` names, the last if there are several. Raises NotSplit when there is none."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    body, found = tree.body, None
    for part in name.split("."):
        found = next((each for each in reversed(body) if isinstance(each, kinds) and each.name == part), None)
        if found is None:
            raise NotSplit(f"no function {name}")
        body = found.body
    assert found is not None
    return found


def first_line(node: ast.stmt) -> int:
    """Line number, from 1, of a statement's first line, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def statement_source(source: str, node: ast.stmt) -> str:
    """The whole lines of a module-level statement."""
    return "".join(lines_of(source)[first_line(node) - 1 : node.end_lineno])


def around_function(source: str, node: FunctionNode) -> list[str]:
    """The texts before and after a function, comments and all."""
    lines = lines_of(source)
    return ["".join(lines[: first_line(node) - 1]), "".join(lines[node.end_lineno :])]


def join_context(pieces: Iterable[str]) -> str:
    """Pieces of source as a context: blank lines at their ends removed, two blank lines before what follows."""
    kept = [piece.strip("\n") for piece in pieces if piece.strip()]
    return "\n\n\n".join(kept) + "\n\n\n" if kept else ""


def split_function(source: str, node: FunctionNode) -> FunctionParts:
    """Cut one function of `source`.

    Raises: NotSplit when it has no body but a docstring, or when docstring and body share a line.
    """
    lines = lines_of(source)
    start, last = first_line(node) - 1, node.end_lineno or node.lineno
    docstring = docstring_node(node)
    if docstring is None:
        return _split_bare(lines, node)
    before, column = lines[start : docstring.lineno - 1], docstring.col_offset
    opening = _cut(lines[docstring.lineno - 1], column)[0]
    if opening.strip():
        before = [*before, opening.rstrip() + "\n"]
    rest = _cut(lines[(docstring.end_lineno or 0) - 1], docstring.end_col_offset or 0)[1].strip()
    if rest and not rest.startswith("#"):
        raise NotSplit("docstring and body share a line")
    body = "".join(lines[docstring.end_lineno or 0 : last])
    if not body.strip():
        raise NotSplit("nothing after the docstring")
    text = clean_docstring(ast.literal_eval(docstring.value))
    return FunctionParts(signature="".join(before), docstring=text, body=body)


def without_docstrings(source: str) -> str:
    """Source without the docstrings of its functions, but where one is all that there is."""
    lines = lines_of(source)
    for node in ast.walk(parse_source(source)):
        docstring = docstring_node(node) if isinstance(node, FunctionNode) and len(node.body) > 1 else None
        if docstring is not None:
            start, end = docstring.lineno - 1, docstring.end_lineno or 0
            before, after = lines[start][: docstring.col_offset], lines[end - 1][docstring.end_col_offset :]
            if not (before + after).strip():
                lines[start:end] = [""] * (end - start)
    return "".join(lines)


def docstring_node(node: FunctionNode) -> ast.Expr | None:
    """The docstring's statement. Imports may stand before it (HumanEval/115), which Python itself would not accept."""
    for statement in node.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return statement if isinstance(statement.value.value, str) else None
        return None
    return None


def _split_bare(lines: list[str], node: FunctionNode) -> FunctionParts:
    start, last = first_line(node) - 1, node.end_lineno or node.lineno
    header_end = _header_end(lines, node)
    body = node.body[0]
    if body.lineno > header_end:
        return FunctionParts(
            signature="".join(lines[start:header_end]), docstring="", body="".join(lines[header_end:last])
        )
    header, statement = _cut(lines[body.lineno - 1], body.col_offset)
    signature = "".join(lines[start : body.lineno - 1]) + header.rstrip() + "\n"
    return FunctionParts(
        signature=signature,
        docstring="",
        body=" " * node.col_offset + DEFAULT_INDENT + statement + "".join(lines[body.lineno : last]),
    )


def _header_end(lines: list[str], node: FunctionNode) -> int:
    """The number of the line on which the def's logical line ends."""
    readline = io.StringIO("".join(lines[node.lineno - 1 :])).readline
    for token in tokenize.generate_tokens(readline):
        if token.type == tokenize.NEWLINE:
            return node.lineno - 1 + token.start[0]
    raise NotSplit("the def has no end")


def _cut(line: str, column: int) -> tuple[str, str]:
    """A line cut at a column of the syntax tree, which counts UTF-8 bytes."""
    data = line.encode("utf-8", "surrogatepass")
    return data[:column].decode("utf-8", "surrogatepass"), data[column:].decode("utf-8", "surrogatepass")


def lines_of(source: str) -> list[str]:
    """Lines as Python counts them (str.splitlines also breaks at form feeds and the like)."""
    if not source.endswith("\n"):
        source += "\n"
    return [line + "\n" for line in source.split("\n")[:-1]]


def _strip_line_ends(source: str) -> str:
    return "".join(line.rstrip() + "\n" for line in lines_of(source))


def _expand_leading_tabs(source: str) -> str:
    return "".join(_expand_tabs(line) for line in lines_of(source))


def _expand_tabs(line: str) -> str:
    rest = line.lstrip("\t ")
    return line[: len(line) - len(rest)].replace("\t", DEFAULT_INDENT) + rest
