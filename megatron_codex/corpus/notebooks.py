"""Jupyter notebooks as source: .ipynb in (nbformat 3 and 4), code with its markdown as comments out.

Outputs and raw cells are left out. What only IPython understands (%magics, !commands, name?) becomes a comment.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

MAX_RAW_FACTOR = 10
"""A notebook's file may be so many times max_file_bytes: most of it is pictures. Its source must be below that."""

_ESCAPE = re.compile(r"[%!?]|[\w.\[\]]+\?{1,2}\s*$|[\w.,\[\] ]+=[ \t]*[%!][ \t]*[\w/]")
_PYTHON_CELL_MAGIC = re.compile(r"%%(?:time|timeit|capture|prun|snakeviz|memit|mprun|scalene)\b")


class NotNotebook(ValueError):
    """The text is not JSON of a notebook."""


def notebook_source(text: str) -> tuple[str, str]:
    """(source, kernel's language as the notebook writes it, "python" where it says nothing).

    Raises: NotNotebook for what is not JSON or lacks the cells of nbformat 3 or 4.
    """
    try:
        root = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotNotebook(str(error)) from error
    if not isinstance(root, dict):
        raise NotNotebook("no JSON object")
    cells = _cells(root)
    blocks = [block for cell in cells for block in _block(cell) if block.strip()]
    source = "\n\n".join(block.rstrip() for block in blocks)
    return (source + "\n" if source else ""), _language(root, cells)


def _cells(root: dict[str, Any]) -> list[dict[str, Any]]:
    version = root.get("nbformat")
    if version == 4:
        cells = root.get("cells")
    elif version == 3 and isinstance(root.get("worksheets"), list):
        sheets = root["worksheets"]
        if not all(isinstance(sheet, dict) and isinstance(sheet.get("cells"), list) for sheet in sheets):
            raise NotNotebook("a worksheet without cells")
        cells = [cell for sheet in sheets for cell in sheet["cells"]]
    else:
        raise NotNotebook(f"nbformat {version!r}")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise NotNotebook("no list of cells")
    return cells


def _block(cell: dict[str, Any]) -> Iterator[str]:
    kind = cell.get("cell_type")
    if kind not in ("code", "markdown", "heading", "html"):
        return
    source = cell.get("input", cell.get("source")) if kind == "code" else cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise NotNotebook("a cell without source")
    yield _python(source) if kind == "code" else _comment(source)


def _python(source: str) -> str:
    """A code cell as Python. One that Python can parse has nothing of IPython's in it, whatever its lines look like."""
    lines = source.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if first.startswith("%%"):
        if not _PYTHON_CELL_MAGIC.match(first):
            return _comment(source)  # another language
    elif not any(_ESCAPE.match(line.lstrip()) for line in lines) or _parses(source):
        return source
    return "\n".join(_without_escape(line) for line in lines)


def _without_escape(line: str) -> str:
    text = line.lstrip()
    if not _ESCAPE.match(text):
        return line
    indent = line[: len(line) - len(text)]
    # An indented one may be all that its block has: `pass` keeps that a block.
    return f"{indent}pass  # {text}" if indent else f"# {text}"


def _parses(source: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True


def _comment(source: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in source.strip("\n").splitlines())


def _language(root: dict[str, Any], cells: list[dict[str, Any]]) -> str:
    metadata = root.get("metadata")
    for section, key in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(section) if isinstance(metadata, dict) else None
        if isinstance(part, dict) and isinstance(part.get(key), str):
            return str(part[key])
    of_cells = [cell["language"] for cell in cells if isinstance(cell.get("language"), str)]
    return of_cells[0] if of_cells else "python"
