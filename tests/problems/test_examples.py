"""Recorded calls as tests: which can be told, and how they are written down."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from megatron_codex.problems.assertions import check_source
from megatron_codex.problems.examples import choose_examples, is_data, is_testable, num_outcomes
from megatron_codex.tagged import encode


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


CHANGED = {"args": [[3, 1]], "kwargs": {"to": {"d": []}}, "output": None,
           "changes": {"0": [1, 3], "to": {"d": [["n", 2]]}}}  # fmt: skip


def _sort_into(items: list[int], to: dict[str, int]) -> None:
    items.sort()
    to["n"] = len(items)


@pytest.mark.parametrize(
    ("example", "right", "wrong"),
    [
        (CHANGED, _sort_into, lambda items, to: items.sort()),
        (CHANGED, _sort_into, lambda items, to: to.update(n=2)),
        ({"args": [3], "kwargs": {}, "iterator": [0, 1, 2]}, range, lambda number: range(number - 1)),
        ({"args": [[3]], "kwargs": {}, "output": {"I": [3]}}, iter, lambda items: iter([])),
        ({"args": [{"x": ["decimal.Decimal", ["1.5"]]}], "kwargs": {}, "output": {"f": "0x1.8p+0"}}, float, int),
        ({"args": [1], "kwargs": {}, "output": {"O": ["m", "Box", [["items", [1, {"t": [{"O": ["m", "Box", []]}]}]]]]}},
         lambda one: _box(items=[one, (_box(),)]), lambda one: _box(items=[one, (_box(x=1),)])),
        ({"args": [1], "kwargs": {}, "output": {"O": ["m", "Box", [["pair", {"N": ["m", "Pair", [1, 2]]}]]]}},
         lambda one: _box(pair=Pair(1, 2)), lambda one: _box(pair=Pair(1, 3))),
    ],
    ids=["first_argument", "second_argument", "iterator", "fresh_iterator", "decimal", "objects", "named_tuples"],
)  # fmt: skip
def test_outcomes_of_every_form_are_told(example: dict[str, Any], right: Any, wrong: Any) -> None:
    scope: dict[str, Any] = {"Box": Box, "Pair": Pair}
    exec(check_source([example]), scope)
    scope["check"](right)
    with pytest.raises(AssertionError):
        scope["check"](wrong)


class Box:
    """No equality of its own."""


class Pair(NamedTuple):
    a: int
    b: int


def _box(**fields: Any) -> Box:
    made = Box()
    vars(made).update(fields)
    return made


@pytest.mark.parametrize(
    ("example", "expected"),
    [
        (_example([1], [2]), True),
        ({"args": [1], "kwargs": {}, "raises": "KeyError"}, True),
        (CHANGED, False),
        ({"args": [3], "kwargs": {}, "iterator": [0]}, False),
        ({"args": [[{"x": ["decimal.Decimal", ["1"]]}]], "kwargs": {}, "output": 1}, False),
        ({"args": [], "kwargs": {"key": {"m": ["builtins", "len"]}}, "output": 1}, False),
        ({"args": [1], "kwargs": {}, "output": {"t": [{"I": []}]}}, False),
    ],
)
def test_only_plain_data_is_left_to_the_judges_own_comparison(example: dict[str, Any], expected: bool) -> None:
    assert is_data(example) == expected


def test_keyword_names_that_are_no_identifiers() -> None:
    scope: dict[str, Any] = {}
    exec(check_source([_example([], ["a-b"], **{"a-b": 1})]), scope)
    scope["check"](lambda **names: list(names))
    changed = {"args": [], "kwargs": {"class": [1], "a-b": [2], "a_b": [3]}, "output": None,
               "changes": {"class": [], "a-b": [], "a_b": []}}  # fmt: skip
    exec(check_source([changed]), scope)
    scope["check"](lambda **names: [each.clear() for each in names.values()] and None)
    with pytest.raises(AssertionError):
        scope["check"](lambda **names: names["a-b"].clear())


@pytest.mark.parametrize(
    ("example", "testable"),
    [
        (_example([1], [1.0]), True),
        (_example([1], [{"a": float("nan")}]), False),
        (_example([1], complex("nan")), False),
        (_example([float("nan")], 1), True),
        ({"args": [], "kwargs": {}, "iterator": [encode(float("nan"))]}, False),
        ({"args": [], "kwargs": {}, "output": 1, "changes": {"0": encode(float("nan"))}}, False),
        ({"args": [], "kwargs": {}, "output": {"x": ["decimal.Decimal", ["NaN"]]}}, False),
        (_example([1], "nan"), True),
        ({"args": [{"m": ["m", "f(x)"]}], "kwargs": {}, "output": 1}, False),
        ({"args": [1], "kwargs": {}, "iterator": None}, True),
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
