"""Cutting one function out of a source text."""

from __future__ import annotations

import ast

import pytest

from megatron_codex.problems.functions import (
    NotSplit,
    around_function,
    find_function,
    join_context,
    split_function,
    tidy_source,
)


def _split(source: str) -> tuple[str, str, str]:
    parts = split_function(source, find_function(source, "f"))
    return parts.signature, parts.docstring, parts.body


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ('def f(x):\n    """Doc."""\n    return x\n', ("def f(x):\n", "Doc.", "    return x\n")),
        ("def f(x):\n    # why\n    return x", ("def f(x):\n", "", "    # why\n    return x\n")),
        ("def f(x): return x\n", ("def f(x):\n", "", "    return x\n")),
        ("def f(é='é', y=1): return é  # é\n", ("def f(é='é', y=1):\n", "", "    return é  # é\n")),
        ('@a\n@b(\n  1)\ndef f(\n  x,\n):\n  """D."""\n\n  x += 1\n  return x\n',
         ("@a\n@b(\n  1)\ndef f(\n  x,\n):\n", "D.", "\n  x += 1\n  return x\n")),
        ('async def f():\n\t"""D."""\n\treturn 1\n', ("async def f():\n", "D.", "\treturn 1\n")),
        ('def f():\n    import math\n    """D."""\n    return math.e\n',
         ("def f():\n    import math\n", "D.", "    return math.e\n")),
        ('def f(): \n    """D."""  # note\n    return "a\\n\\\n  b"\n',
         ("def f(): \n", "D.", '    return "a\\n\\\n  b"\n')),
        ('def f():\n    b"""no"""\n    return 1\n', ("def f():\n", "", '    b"""no"""\n    return 1\n')),
        ("x = '\x0c\u2028'\ndef f():\n    return '\x0c'\n", ("def f():\n", "", "    return '\x0c'\n")),
    ],
    ids=["plain", "comment", "one line", "utf-8 columns", "decorated", "async", "import first", "comments", "bytes",
         "odd line breaks"],
)  # fmt: skip
def test_parts(source: str, parts: tuple[str, str, str]) -> None:
    assert _split(source) == parts


@pytest.mark.parametrize(
    "source",
    [
        "def g():\n    return 1\n",
        'def f():\n    """Only."""\n',
        'def f():\n    "D"; x = 1\n    return x\n',
        "def f(:\n",
        "\0",
    ],
    ids=["absent", "no body", "shared line", "syntax", "nul"],
)
def test_what_cannot_be_cut(source: str) -> None:
    with pytest.raises(NotSplit):
        _split(source)


def test_the_last_of_two_definitions_counts() -> None:
    assert _split("def f():\n    return 1\ndef f():\n    return 2\n")[2] == "    return 2\n"


def test_around() -> None:
    source = "import a\n# note\n@d\ndef f():\n    return 1\nb = 2\n"
    assert around_function(source, find_function(source, "f")) == ["import a\n# note\n", "b = 2\n"]
    assert join_context(["import a\n", "\n", "b = 2"]) == "import a\n\n\nb = 2\n\n\n"
    assert join_context([" \n"]) == ""


def test_tidy_keeps_the_meaning() -> None:
    assert tidy_source("def f():\r\n\tif 1:  \r\n\t\treturn 2") == "def f():\n    if 1:\n        return 2\n"


def test_tidy_leaves_strings_alone() -> None:
    source = 'def f():\n\treturn """\n\ta  \n"""\n'
    assert ast.dump(ast.parse(tidy_source(source))) == ast.dump(ast.parse(source))
    assert '"""\n\ta  \n"""' in tidy_source(source)
