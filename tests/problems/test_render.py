"""The S and D views, character for character."""

from __future__ import annotations

from dataclasses import replace

import pytest

from megatron_codex.errors import InputError
from megatron_codex.problems.render import (
    body_indent,
    build_prompt,
    docstring_prompt,
    parse_docstring,
    render_d,
    render_s,
)
from megatron_codex.records import Problem

PROBLEM = Problem(
    task_id="t/1",
    prompt='import re\n\n\n@cache\ndef f(x):\n    """Say "hi"."""\n',
    entry_point="f",
    canonical_solution="    # note\n    return x\n",
    test="def check(candidate):\n    assert candidate(1) == 1\n",
    signature="@cache\ndef f(x):\n",
    docstring='Say "hi".',
    body="    # note\n    return x\n",
    context="import re\n\n\n",
)


def test_s_view() -> None:
    rendered = render_s(PROBLEM)
    assert rendered.prompt == 'import re\n\n\n@cache\ndef f(x):\n    """Say "hi"."""\n'
    assert rendered.completion == "    # note\n    return x\n"


def test_s_view_of_a_published_row_is_its_own_prompt() -> None:
    row = replace(PROBLEM, prompt="def f(x):\n    '''Odd'''\n\n", canonical_solution="    return x")
    assert render_s(row).prompt == "def f(x):\n    '''Odd'''\n\n"
    assert render_s(row).completion == "    return x\n"


def test_d_view() -> None:
    rendered = render_d(PROBLEM)
    assert rendered.prompt == "@cache\ndef f(x):\n    # note\n    return x\n"
    assert rendered.completion == '    """Say "hi"."""\n'


def test_d_view_of_several_lines_with_the_bodys_indent() -> None:
    problem = replace(PROBLEM, docstring="One.\n\nTwo\\n.", body="  return x\n")
    assert render_d(problem).completion == '  """\n  One.\n\n  Two\\\\n.\n  """\n'


@pytest.mark.parametrize("field", ["signature", "body", "docstring"])
def test_d_view_needs_its_fields(field: str) -> None:
    with pytest.raises(InputError, match=f"t/1: {field}"):
        render_d(replace(PROBLEM, **{field: " "}))


def test_the_prompt_of_its_own_docstring_is_the_prompt() -> None:
    assert docstring_prompt(PROBLEM, PROBLEM.docstring) == PROBLEM.prompt


def test_round_trip_d_to_s() -> None:
    docstring = parse_docstring(render_d(PROBLEM).completion + "    return x\n")
    assert docstring is not None
    assert docstring_prompt(PROBLEM, docstring) == PROBLEM.prompt
    assert docstring_prompt(PROBLEM, "Other\\") == PROBLEM.prompt.replace('Say "hi".', "Other\\\\")


def test_a_problem_without_docstring_has_a_prompt_that_ends_after_the_signature() -> None:
    assert build_prompt(context="", signature="def f():", docstring="") == "def f():\n"


@pytest.mark.parametrize(
    ("body", "indent"), [("\n  # far\n\treturn 1\n", "\t"), ("", "    "), ("  x\n      y\n", "  ")]
)
def test_body_indent(body: str, indent: str) -> None:
    assert body_indent(body) == indent
