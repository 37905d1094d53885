"""Docstrings: text -> literal -> text, and what a model's completion is read as."""

from __future__ import annotations

import ast
import textwrap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from megatron_codex.problems.docstrings import clean_docstring, parse_docstring, quote_docstring

HOSTILE = st.text(st.sampled_from(list("ab \n\t\"'\\\r\0\x0c\x7f\u2028é\ud800")), max_size=30)


@given(HOSTILE | st.text(max_size=60))
@example('"')
@example('""""""')
@example("\\")
@example("ends in a backslash\\")
@example('two lines"\n"""')
def test_every_clean_text_survives_the_round_trip(value: str) -> None:
    text = clean_docstring(value)
    literal = quote_docstring(text)
    assert parse_docstring(literal) == (text or None)
    assert clean_docstring(text) == text or "\n" in text


@given(HOSTILE)
def test_the_literal_is_a_functions_docstring(value: str) -> None:
    text = clean_docstring(value)
    source = "def f():\n" + quote_docstring(text) + "    return 1\n"
    (function,) = ast.parse(source.encode()).body
    assert isinstance(function, ast.FunctionDef)
    assert clean_docstring(ast.get_docstring(function, clean=False) or "") == text


@given(st.text(st.sampled_from(list("ab \"'\\x")), min_size=1, max_size=20))
def test_one_line_is_the_literals_very_value(text: str) -> None:
    if text.strip():
        assert ast.literal_eval(quote_docstring(text).strip()) == text


def test_layout_of_one_line() -> None:
    assert quote_docstring("Add two numbers.") == '    """Add two numbers."""\n'
    assert quote_docstring("Add.", indent="\t") == '\t"""Add."""\n'


def test_layout_of_several_lines() -> None:
    assert quote_docstring("One.\n\n  two\nthree", indent="  ") == '  """\n  One.\n\n    two\n  three\n  """\n'


def test_nothing_to_say_is_no_docstring() -> None:
    assert quote_docstring(" \n ") == ""


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ('    """Add."""\n    return 1\n', "Add."),
        ("'single'", "single"),
        ('\n\n  r"""\\d"""', "\\d"),
        ('"""\n    One.\n      two\n    """', "One.\n  two"),
        ('"""bad escape \\d"""', "bad escape \\d"),
        ('""""quoted" start"""', '"quoted" start'),
        ('"""never closed', None),
        ("return 1", None),
        ("", None),
        ('b"""bytes"""', None),
        ('f"""{format}"""', None),
        ('"""nul \0"""', None),
        ('"one line\nonly"', None),
    ],
)
def test_what_a_completion_is_read_as(completion: str, text: str | None) -> None:
    assert parse_docstring(completion) == text


def test_cleaning_removes_the_margin() -> None:
    assert clean_docstring(textwrap.indent("\nOne.\n\n  two \n", "    ")) == "One.\n\n  two"
