from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatron_codex.tagged import NotPlainData, decode, encode

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 200), 1 << 200)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE | st.binary().map(bytearray) | st.builds(range, st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4) | st.sets(HASHABLE, max_size=4)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_a_value_comes_back_through_json(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert type(back) is type(value)
    assert back == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.0, 1e-320], ids=str)
def test_odd_floats_come_back_exactly(value: float) -> None:
    assert decode(json.loads(json.dumps(encode(value)))).hex() == value.hex()


class SubInt(int):
    pass


class SubList(list):  # type: ignore[type-arg]
    def __eq__(self, other: object) -> bool:
        return True


@pytest.mark.parametrize(
    "value",
    [SubInt(1), SubList(), object(), len, iter([]), [SubList()], {"a": SubInt(2)}, 1 << (1 << 18)],
    ids=lambda value: type(value).__name__,
)
def test_only_exact_builtin_types_cross(value: object) -> None:
    with pytest.raises(NotPlainData):
        encode(value)


def test_cycles_and_depth_are_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(NotPlainData, match="deeper"):
        encode(cycle)
    deep: Any = 0
    for _ in range(1000):
        deep = [deep]
    with pytest.raises(NotPlainData, match="deeper"):
        decode(deep)


@pytest.mark.parametrize(
    "data",
    [
        {"q": 1},
        {},
        {"t": 1},
        {"s": [[1]]},
        {"d": [[1]]},
        {"f": 1.5},
        {"f": "x"},
        {"i": "0x" + "f" * 100_000},
        {"b": "zz"},
        {"r": [1]},
        {"t": [], "s": []},
        1.5,
    ],
    ids=repr,
)
def test_forged_messages_are_refused(data: Any) -> None:
    with pytest.raises(NotPlainData):
        decode(data)


def test_equal_sets_have_equal_forms() -> None:
    assert encode({"b", "a", 1}) == encode({1, "a", "b"})
