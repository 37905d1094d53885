"""Statements as docstrings, and the examples that stand in them."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_codex.problems.contests.assertions import asserted_examples
from megatron_codex.problems.contests.signatures import (
    completed_starter,
    example_signature,
    python_name,
)
from megatron_codex.problems.contests.statement_examples import function_examples, script_examples
from megatron_codex.problems.contests.statements import docstring_of
from megatron_codex.problems.contests.values import call_example, raising_example

LEETCODE = """<p>Given <code>nums</code>&nbsp;and <code>target</code>, return <em>two indices</em>.</p>
<p><strong class="example">Example 1:</strong></p>
<pre>
<strong>Input:</strong> nums = [2,7,11,15], target = 9
<strong>Output:</strong> [0,1]
<strong>Explanation:</strong> Because nums[0] + nums[1] == 9, we return [0, 1].
</pre>
<ul><li><code>2 &lt;= n &lt;= 10<sup>4</sup></code></li></ul>"""


def test_html_becomes_text() -> None:
    assert docstring_of(LEETCODE) == (
        "Given nums and target, return two indices.\n\nExample 1:\n\nInput: nums = [2,7,11,15], target = 9\n"
        "Output: [0,1]\nExplanation: Because nums[0] + nums[1] == 9, we return [0, 1].\n\n* 2 <= n <= 10^4"
    )


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("if a < b and c > d", "if a < b and c > d"),
        ("$1 \\le a_i \\leq 10^9$", "1 <= a_i <= 10^9"),
        ("$$$n$$$ is odd", "n is odd"),
        ("costs $5 or $6", "costs $5 or $6"),
        ("See [Bob](https://x.org) and [Al][al].\n\n[al]: https://y.org", "See Bob and Al."),
        ("a\r\n\r\n\r\n\r\nb  \r\n", "a\n\nb"),
        ("word " * 30, ("word " * 20).strip() + "\n" + ("word " * 10).strip()),
        ("1 " * 60, ("1 " * 60).strip()),
        ("```\n" + "x " * 60 + "\n```", "```\n" + ("x " * 60).strip() + "\n```"),
    ],
    ids=["comparison", "tex", "codeforces", "money", "links", "line ends", "wrapped", "numbers", "fenced"],
)
def test_markup_is_taken_off(statement: str, text: str) -> None:
    assert docstring_of(statement) == text


@pytest.mark.parametrize(
    ("statement", "example"),
    [
        (">>> f(1, x=2)\n3\n", call_example([1], {"x": 2}, 3)),
        (
            ">>> f(2)\nTraceback (most recent call last):\n  ...\nValueError: no\n",
            raising_example([2], {}, "ValueError"),
        ),
        ("so f([1, 2], 'a,)') == {'a': 1}.", call_example([[1, 2], "a,)"], {}, {"a": 1})),
        ("`f(6)` returns `[1]`", call_example([6], {}, [1])),
        ("f(5) should return true", call_example([5], {}, True)),
        ("f(5) => null  // nothing", call_example([5], {}, None)),
        ("f(5)  # returns 'x y'", call_example([5], {}, "x y")),
        ("Input: a = [1], b = 'x=y'\nOutput: [0, 1]\nExplanation: so", call_example([[1], "x=y"], {}, [0, 1])),
        ("**Input**: [1], 2\n**Output**: false", call_example([[1], 2], {}, False)),
        ("Input: b = 1, a = 2\nOutput: 3", call_example([2, 1], {}, 3)),
    ],
    ids=["doctest", "raises", "==", "returns", "should return", "=>", "comment", "named", "by place", "other order"],
)
def test_calls_are_read_from_statements(statement: str, example: dict[str, Any]) -> None:
    assert function_examples(f"Do it.\n\n{statement}\n\nThe end.", "f", ["a", "b"]) == (example,)


@pytest.mark.parametrize(
    "statement",
    [
        "f(x) == 3",
        "f(1) == g(2)",
        "xf(1) == 2",
        "a.f(1) == 2",
        "Input: c = 1\nOutput: 2",
        "Input: 1 2\nOutput: 3",
        "f(1 ==",
    ],
)
def test_what_is_no_literal_is_left_out(statement: str) -> None:
    assert function_examples(statement, "f", ["a", "b"]) == ()


@pytest.mark.parametrize(
    "statement",
    [
        "Add.\n\n-----Input-----\nTwo numbers.\n\n-----Output-----\nA sum.\n\n-----Sample Input-----\n1\n2\n\n"
        "-----Sample Output-----\n3\n\n-----Note-----\nx",
        "Add.\n\nInput\n\nTwo numbers.\n\nOutput\n\nA sum.\n\nExamples\n\nInput\n\n1\n2\n\n\nOutput\n\n3\n\nNote\n\nx",
        "Add.\n\n### Example 1\n\nInput:\n```\n1\n2\n```\nOutput:\n```\n3\n```\n",
        "Add.\n\nSample Input 1:\n1\n2\nSample Output 1:\n3\n",
    ],
    ids=["apps", "codeforces", "markdown", "numbered"],
)
def test_samples_are_read_from_statements(statement: str) -> None:
    assert script_examples(statement) == ({"input": "1\n2\n", "output": "3\n"},)


def test_several_samples_stay_apart() -> None:
    found = script_examples("Examples\n\nInput\n\n1\n\nOutput\n\nYES\n\nInput\n\n2\n\nOutput\n\nNO\n")
    assert found == ({"input": "1\n", "output": "YES\n"}, {"input": "2\n", "output": "NO\n"})


def test_assertions_become_examples() -> None:
    source = (
        "def check(candidate):\n    assert candidate((1,), k=2) == {3}\n    assert 4 == f(5)\n"
        "    assert f(x) == 1\n    assert g(1) == 1\n    assert f(1) > 1\n    assert f(5) == 5\n"
    )
    assert asserted_examples(source, "f") == (call_example([(1,)], {"k": 2}, {3}), call_example([5], {}, 4))


def test_signatures_are_inferred() -> None:
    examples = [call_example([], {"a": [1], "k": 1.5}, "x"), raising_example([], {"a": []}, "ValueError")]
    assert example_signature("f", examples) == "def f(a: list[int], k: float | None = None) -> str:\n"
    deep = [call_example([{"a": [[[1]]]}], {}, (1, 2)), call_example([None], {}, (3,))]
    assert example_signature("f", deep) == "def f(arg1: dict[str, list[list]] | None) -> tuple[int, ...]:\n"
    assert completed_starter("def f(a: int) -> int:", "f") == "def f(a: int) -> int:\n    pass\n"
    starter = "class Solution:\n    def f(self):\n        "
    assert completed_starter(starter, "f") == "class Solution:\n    def f(self):\n        pass\n"


@pytest.mark.parametrize(
    ("name", "ours"),
    [("findAnagrams", "find_anagrams"), ("lambda", "lambda_"), ("list", "list_"), ("toRNA", "to_rna"), ("2x", "_2x")],
)
def test_names_of_other_languages(name: str, ours: str) -> None:
    assert python_name(name) == ours
