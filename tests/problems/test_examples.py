"""Recorded calls as tests."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_codex.problems.examples import check_source, choose_examples, is_testable, num_outcomes, value_source
from megatron_codex.tagged import encode

VALUES: list[Any] = [
    None, True, -3, 1 << 70, 0.1, -0.0, float("inf"), float("-inf"), complex(1, -2.5), complex("inf"), "a'\"\n\ud800",
    b"\0", bytearray(b"x"), range(1, 9, 2), [], [1, [2]], (), (1,), (1, 2), {}, {1: {2: 3}, (1,): "x"}, set(),
    {3, 1, 2}, frozenset(), frozenset({(1, 2)}), {"a": {"b": [set(), {1}]}},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_values_source_evaluates_to_the_value(value: Any) -> None:
    assert encode(eval(value_source(value))) == encode(value)


def test_a_sets_source_does_not_depend_on_its_order() -> None:
    assert value_source({"b", "a", "c"}) == "{'a', 'b', 'c'}"


def _example(args: list[Any], output: Any, **kwargs: Any) -> dict[str, Any]:
    return {
        "args": [encode(value) for value in args],
        "kwargs": {name: encode(value) for name, value in kwargs.items()},
        "output": encode(output),
    }


def test_check_passes_the_right_function_and_no_other() -> None:
    examples = [_example([1], 2), _example([1], 4, by=3), {"args": [None], "kwargs": {}, "raises": "TypeError"}]
    scope: dict[str, Any] = {}
    exec(check_source(examples), scope)
    scope["check"](lambda number, by=1: number + by)
    for wrong in (lambda number, by=1: number + 1, lambda number, by=1: (number or 0) + by, lambda *_, **__: 1 / 0):
        with pytest.raises((AssertionError, ZeroDivisionError)):
            scope["check"](wrong)


def test_keyword_names_that_are_no_identifiers() -> None:
    scope: dict[str, Any] = {}
    exec(check_source([_example([], ["a-b"], **{"a-b": 1})]), scope)
    scope["check"](lambda **names: list(names))


@pytest.mark.parametrize(
    ("example", "testable"),
    [
        (_example([1], [1.0]), True),
        (_example([1], [{"a": float("nan")}]), False),
        (_example([1], complex("nan")), False),
        (_example([float("nan")], 1), True),
        ({"args": [], "kwargs": {}, "raises": "KeyError"}, True),
        ({"args": [], "kwargs": {}, "raises": "ParseError"}, False),
        ({"args": [], "kwargs": {}, "raises": "KeyboardInterrupt"}, False),
        ({"args": [], "kwargs": {}, "raises": "UnicodeDecodeError"}, False),
        ({"args": [], "kwargs": {}, "raises": "print"}, False),
    ],
)
def test_which_outcomes_can_be_asserted(example: dict[str, Any], testable: bool) -> None:
    assert is_testable(example) == testable


def test_examples_of_different_outcomes_are_chosen_first() -> None:
    examples = [_example([number], number > 97) for number in range(100)]
    chosen = choose_examples(examples, 4)
    assert len(chosen) == 4
    assert num_outcomes(chosen) == 2
    assert choose_examples(list(reversed(examples)), 4) == chosen
    assert choose_examples(examples[:3], 10) == examples[:3]


def test_short_and_long_examples_are_chosen() -> None:
    examples = [_example(["x" * number], number) for number in range(100)]
    lengths = [len(example["args"][0]) for example in choose_examples(examples, 5)]
    assert min(lengths) < 20 and max(lengths) > 80
