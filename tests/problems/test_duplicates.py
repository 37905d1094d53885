"""Problems that are one and the same are merged, and counted."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_codex.problems.bodies import body_key
from megatron_codex.problems.duplicates import merge_duplicates
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool

_DOUBLE = "    total = x\n    return total + x\n"


def _problem(task_id: str, body: str, *calls: tuple[Any, Any], head: str = "def f(x):\n", name: str = "f") -> Problem:
    examples = tuple({"args": [given], "kwargs": {}, "output": output} for given, output in calls)
    return Problem(
        task_id=task_id, prompt=head, entry_point=name, canonical_solution=body, test="", io_examples=examples
    )


@pytest.mark.parametrize(
    ("head", "body", "same"),
    [
        ("def f(x):\n", _DOUBLE, True),
        ('def g(y: int) -> int:\n    """Other words."""\n', "    z = y\n    # a comment\n    return z + y\n", True),
        ("def f(x):\n", "    total = x\n    return x + total\n", False),
        ("def f(x):\n", "    total = x\n    return total - x\n", False),
        ("import os\n\n\ndef f(x):\n", _DOUBLE, False),
        ("def f(x, y=1):\n", _DOUBLE, False),
        ("def f(x):\n", "    sum = x\n    return total + x\n", False),
    ],
)
def test_bodies_are_compared_without_names_comments_and_docstrings(head: str, body: str, same: bool) -> None:
    assert (body_key(_problem("one", _DOUBLE)) == body_key(_problem("two", body, head=head))) == same


def test_the_first_of_each_sort_stays_and_counts_the_others(isolation: None) -> None:
    calls = [(1, 2), (3, 6)]
    problems = [
        _problem("first", _DOUBLE, *calls),
        _problem("same body", _DOUBLE.replace("total", "t"), *calls),
        _problem("same behaviour", "    return 2 * x\n", (4, 8), (0, 0)),
        _problem("its copy", "    return 2 * x\n", (4, 8), (0, 0), head="def g(x):\n", name="g"),
        _problem("passes, but not the other way", "    return 2 * x if x > 2 else x * x * 2\n", (3, 6), (2, 8)),
        _problem("its tests are passed, but it passes no others", "    return 2 * x if x > 2 else 0\n", (3, 6), (4, 8)),
        _problem("other types", "    return [x, x]\n", (1, [1, 1])),
    ]
    kept, merged = merge_duplicates(problems, lambda: JudgePool(2))
    assert [(each.task_id, each.provenance.get("duplicates", 0)) for each in kept] == [
        ("first", 3),
        ("passes, but not the other way", 0),
        ("its tests are passed, but it passes no others", 0),
        ("other types", 0),
    ]
    assert [(each.problem.task_id, each.kept, each.reason) for each in merged] == [
        ("same body", "first", "duplicate by body"),
        ("its copy", "same behaviour", "duplicate by body"),
        ("same behaviour", "first", "duplicate by behaviour"),
    ]
