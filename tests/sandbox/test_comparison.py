"""Answers compared with what is expected: Python's equality, and what an example may ask for instead."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.records import Verdict
from megatron_codex.sandbox.canonical import canonical_text
from megatron_codex.sandbox.comparison import difference, equal
from megatron_codex.sandbox.program import Program
from megatron_codex.tagged import NotPlainData, encode

NAN, INF = math.nan, math.inf
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0**60, 2**60, 1e300, int(1e300), INF, 1j, 0j, 1 + 0j, "", "1", "a", b"a"])
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=2), max_leaves=3)
VALUES = st.recursive(
    HASHABLE | st.builds(range, st.integers(0, 3), st.integers(0, 3), st.integers(1, 2)) | st.just(bytearray(b"a")),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=2)
        | st.sets(HASHABLE, max_size=2)
    ),
    max_leaves=4,
)


def same(actual: Any, expected: Any, **keys: Any) -> bool:
    return difference({"value": encode(actual)}, {"output": encode(expected), **keys}) == ""


@given(VALUES, VALUES)
@settings(max_examples=600, deadline=None)
def test_equality_is_pythons(first: Any, second: Any) -> None:
    assert same(first, second) is (first == second)
    assert same(first, first) and same(second, second)


@pytest.mark.parametrize(
    ("actual", "expected", "expect"),
    [
        (1, 1.0, True),
        (True, 1, True),
        ([1, 2], (1, 2), False),
        ({1, 2}, frozenset({1, 2}), True),
        (b"a", bytearray(b"a"), True),
        (NAN, NAN, True),
        ([NAN], [0.0], False),
        ({"a": [NAN]}, {"a": [NAN]}, True),
        ({"a": 1}, {"b": 1}, False),
        ({1: 2, 3: 4}, {3: 4, 1: 2}, True),
        ({1: 2}, {1.0: 2.0}, True),
        ([1], [1, 1], False),
        ([[1], 2], [[1, 2]], False),
        ('1"1', "1", False),
        (["a", "b"], ['a,"b'], False),
        ("1", 1, False),
        (0.0, -0.0, True),
        (2**60, 2.0**60, True),
        (2**60 + 1, 2.0**60, False),
        (range(0, 3, 2), range(0, 4, 2), True),
        (range(10**30), range(10**30), True),
        (range(3), [0, 1, 2], False),
        (10**5000, 10**5000 + 1, False),
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) or value < 10**9 else "huge",
)
def test_equality_by_example(actual: Any, expected: Any, expect: bool) -> None:
    assert same(actual, expected) is expect


@pytest.mark.parametrize(
    ("actual", "expected", "keys", "expect"),
    [
        (1.05, 1.0, {"tolerance": 0.1}, True),
        (1.15, 1.0, {"tolerance": 0.1}, False),
        (1e9 + 50, 1e9, {"tolerance": 0.0}, True),  # relative 1e-7
        (1e9 + 150, 1e9, {"tolerance": 0.0}, False),
        (1e9 + 50, 1e9, {"tolerance": 0.0, "relative_tolerance": 0.0}, False),
        (1, 1.05, {"tolerance": 0.1}, True),
        (2**70, 2.0**70, {"tolerance": 0.1}, True),
        (True, 1.05, {"tolerance": 0.1}, False),
        (1.0, 1, {"tolerance": 0.1}, True),
        (1.05, 1, {"tolerance": 0.1}, False),  # expected as an int
        ([(1.05, {"k": 2.0})], [(1.0, {"k": 2.05})], {"tolerance": 0.1}, True),
        ([(1.05, {"k": 2.0})], [(1.0, {"k": 2.25})], {"tolerance": 0.1}, False),
        ([1.05], (1.0,), {"tolerance": 0.1}, False),
        ([1.0, 2.0], [1.0], {"tolerance": 0.1}, False),
        ({1: 1.05}, {1.0: 1.0}, {"tolerance": 0.1}, True),
        ({1.05: 1}, {1.0: 1}, {"tolerance": 0.1}, False),
        ({1.05}, {1.0}, {"tolerance": 0.1}, False),
        ("1.05", 1.0, {"tolerance": 0.1}, False),
        (None, 0.0, {"tolerance": 0.1}, False),
        (1 + 1.05j, 1 + 1j, {"tolerance": 0.1}, True),
        (1.05, 1 + 0j, {"tolerance": 0.1}, True),
        (1 + 1.2j, 1 + 1j, {"tolerance": 0.1}, False),
        (NAN, NAN, {"tolerance": 0.1}, True),
        (NAN, 1.0, {"tolerance": 1e308}, False),
        (1.0, NAN, {"tolerance": 1e308}, False),
        (INF, INF, {"tolerance": 0.1}, True),
        (-INF, INF, {"tolerance": 1e308}, False),
        (1e308, INF, {"tolerance": 1e308}, False),
        (INF, 1e308, {"tolerance": 1e308}, False),
        (-0.0, 0.0, {"tolerance": 0.0}, True),
        ([2, 1], [1, 2], {"unordered": True}, True),
        ([2, 1], [1, 2], {"unordered": False}, False),
        ([1, 1, 2], [1, 2, 2], {"unordered": True}, False),
        ([1, 2], [1, 2, 2], {"unordered": True}, False),
        ([[2, 1]], [[1, 2]], {"unordered": True}, False),  # the outermost only
        ([{"b"}, [NAN], 1], [True, {"b"}, [NAN]], {"unordered": True}, True),
        ((1, 2), (2, 1), {"unordered": True}, True),
        ((1, 2), [2, 1], {"unordered": True}, False),
        (5, [5], {"unordered": True}, False),
        ([2.05, 1.0, 2.15], [1.0, 2.1, 2.2], {"unordered": True, "tolerance": 0.06}, True),
        ([2.05, 1.0, 2.3], [1.0, 2.1, 2.2], {"unordered": True, "tolerance": 0.06}, False),
        ([True, 2.0], [1.0, 2.0], {"unordered": True, "tolerance": 0.1}, False),
        ([NAN, 2.0], [1.0, 2.0], {"unordered": True, "tolerance": 0.1}, False),
    ],
    ids=repr,
)
def test_comparison_by_an_examples_keys(actual: Any, expected: Any, keys: dict[str, Any], expect: bool) -> None:
    assert same(actual, expected, **keys) is expect


def test_int_too_large_for_a_float_is_no_number_within_a_tolerance() -> None:
    with pytest.raises(NotPlainData):
        same(10**5000, 1.0, tolerance=0.1)


@pytest.mark.parametrize("keys", [{}, {"tolerance": 0.5}, {"unordered": True}], ids=repr)
@pytest.mark.parametrize("tag", ["s", "z", "d"])
def test_colliding_numbers_cost_no_quadratic_time(keys: dict[str, Any], tag: str) -> None:
    """20,000 numbers of one hash take tens of seconds to put into a set; more than is expected, or just as many."""
    numbers = [number * ((1 << 61) - 1) for number in range(1, 20_001)]
    hostile = {tag: [[number, 0] for number in numbers] if tag == "d" else numbers}
    expected = dict.fromkeys(range(20000), 0) if tag == "d" else set(range(20_000))
    started = time.process_time()
    assert difference({"value": [hostile]}, {"output": encode([expected]), **keys})
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "form",
    [{"s": 1}, {"d": [1]}, {"d": [[1]]}, {"t": "ab"}, {"x": 1}, {}, {"f": "x"}, {"s": [], "t": []}, 0.5, {"i": 5}],
    ids=repr,
)
def test_malformed_answer_is_refused(form: Any) -> None:
    for keys in ({}, {"tolerance": 0.1}, {"unordered": True}):
        for expected in ([1, 2.5], {1: 2.5}, (1.5,), 1.5):
            with pytest.raises(NotPlainData):
                difference({"value": [form]}, {"output": encode([expected]), **keys})
    with pytest.raises(NotPlainData):
        equal(form, 1)


def test_deep_form_is_refused() -> None:
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(NotPlainData, match="deeper"):
        canonical_text(deep)


def test_exception_and_its_message() -> None:
    answer = {"raised": ["Mine", "KeyError", "LookupError"], "message": "'k'"}
    assert difference(answer, {"raises": "LookupError"}) == ""
    assert difference(answer, {"raises": "LookupError", "message": "'k'"}) == ""
    assert "expected the message 'k'" in difference(answer, {"raises": "LookupError", "message": "k"})
    assert "expected ValueError" in difference(answer, {"raises": "ValueError", "message": "'k'"})
    assert "expected the message" in difference({**answer, "message": ["'k'"]}, {"raises": "Mine", "message": "'k'"})
    assert difference({**answer, "message": "x" * 500}, {"raises": "Mine", "message": "x" * 600}) == ""


def test_large_answer_is_shown_in_short() -> None:
    fault = difference({"value": encode(list(range(5000)))}, {"output": encode([{1}])})
    assert len(fault) < 300 and "(tagged), expected [{1}]" in fault


def test_judge_compares_as_the_example_says(judge_one: Callable[[Program], Verdict]) -> None:
    source = "def f(x):\n    if x is None: raise ValueError('no x')\n    return [x + 1e-7, 1.0]"
    examples = (
        {"args": [encode(1.0)], "kwargs": {}, "output": encode([1.0, 1.0]), "tolerance": 1e-6, "unordered": True},
        {"args": [None], "kwargs": {}, "raises": "ValueError", "message": "no x"},
    )
    assert judge_one(Program(source=source, entry_point="f", io_examples=examples)).verdict == "passed"
    other = ({**examples[0], "tolerance": 0.0, "relative_tolerance": 0.0},)
    assert judge_one(Program(source=source, entry_point="f", io_examples=other)).verdict == "wrong"
    message = ({**examples[1], "message": "x"},)
    assert judge_one(Program(source=source, entry_point="f", io_examples=message)).verdict == "wrong"
