from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.corpus.notebooks import NotNotebook, notebook_source


def cell(kind: str, source: Any, **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "source": source, "metadata": {}, **more}


def notebook(*cells: dict[str, Any], **more: Any) -> str:
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": list(cells), **more})


def source(*lines: str) -> str:
    return notebook_source(notebook(cell("code", "\n".join(lines))))[0]


def test_code_is_code_and_markdown_is_comment_in_their_order() -> None:
    text = notebook(
        cell("markdown", ["# Title\n", "\n", "words"]),
        cell("code", ["import os\n", "x = 1"], outputs=[{"text": "output"}]),
        cell("raw", "left out"),
        cell("code", "\n"),
        cell("code", "y = 2\n\n"),
    )
    assert notebook_source(text) == ("# # Title\n#\n# words\n\nimport os\nx = 1\n\ny = 2\n", "python")


def test_the_older_format_is_read() -> None:
    cells = [
        {"cell_type": "heading", "level": 1, "source": "Title"},
        {"cell_type": "code", "input": ["x = 1"], "language": "python", "outputs": []},
    ]
    old = {"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}, {"cells": [cells[1]]}]}
    assert notebook_source(json.dumps(old)) == ("# Title\n\nx = 1\n\nx = 1\n", "python")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%matplotlib inline", "# %matplotlib inline"),
        ("!pip install x", "# !pip install x"),
        ("files = !ls", "# files = !ls"),
        ("t = %timeit -o f()", "# t = %timeit -o f()"),
        ("os.path?", "# os.path?"),
        ("?os.path", "# ?os.path"),
        ("    !ls", "    pass  # !ls"),
    ],
)
def test_what_only_ipython_understands_is_commented_out(line: str, expected: str) -> None:
    lines = ["if True:", line] if line.startswith(" ") else ["x = 1", line]
    found = source(*lines)
    assert found == "\n".join([lines[0], expected]) + "\n"
    ast.parse(found)


def test_python_that_looks_like_a_magic_stays() -> None:
    lines = ("x = (a", "  % b)", 'text = """', "!important", '"""', "y = x != 2")
    assert source(*lines) == "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("%%time", "x = 1"), "# %%time\nx = 1\n"),
        (("%%bash", "ls -l"), "# %%bash\n# ls -l\n"),
        (("", "%%html", "<b>"), "# %%html\n# <b>\n"),
    ],
    ids=["python", "bash", "html"],
)
def test_a_cell_of_another_language_is_a_comment(lines: tuple[str, ...], expected: str) -> None:
    assert source(*lines) == expected


@pytest.mark.parametrize(
    ("more", "language"),
    [
        ({"metadata": {"language_info": {"name": "R"}}}, "R"),
        ({"metadata": {"kernelspec": {"language": "julia"}}}, "julia"),
        ({"metadata": {"kernelspec": {}}}, "python"),
        ({"metadata": None}, "python"),
    ],
)
def test_the_kernel_s_language_is_told(more: dict[str, Any], language: str) -> None:
    assert notebook_source(notebook(cell("code", "x"), **more))[1] == language


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", '{"nbformat": 4}', '{"nbformat": 2, "cells": []}', '{"nbformat": 4, "cells": [7]}',
        '{"nbformat": 3, "worksheets": [{}]}', '{"nbformat": 3, "worksheets": 1}', "[" * 100_000,
        notebook({"cell_type": "code"}), notebook(cell("code", [1])), notebook(cell("code", None)),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_what_is_no_notebook_is_refused(text: str) -> None:
    with pytest.raises(NotNotebook):
        notebook_source(text)


@given(st.lists(st.text(alphabet="x =%!?\n \t'\"#(:")))
def test_any_cells_give_text(sources: list[str]) -> None:
    text, language = notebook_source(notebook(*(cell("code", item) for item in sources)))
    assert language == "python"
    assert all(word in text for item in sources for word in item.split() if word == "x")


def test_a_long_line_takes_no_long_time() -> None:
    """Each of these took time with the square of its length with a careless pattern."""
    for line in (" " * 500_000 + "x (", "a" * 500_000 + " (", "a, " * 200_000 + "(", "a." * 200_000 + "? ("):
        assert source(line)
