"""Tests are chosen by what they add."""

from __future__ import annotations

from typing import Any

from megatron_codex.problems.choose_tests import choose_tests
from megatron_codex.problems.strength import Strength


def _strength(*rows: tuple[str, str]) -> Strength:
    """(arcs, kills): a letter is an arc, a digit a mutant."""
    return Strength(
        arcs=[frozenset((each, 0, 0) for each in arcs) for arcs, _ in rows],
        kills=[frozenset(map(int, kills)) for _, kills in rows],
        reads=[frozenset()] * len(rows),
        num_mutants=10,
    )


def _examples(*outputs: Any) -> list[dict[str, Any]]:
    return [{"args": [number], "kwargs": {}, "output": output} for number, output in enumerate(outputs)]


def test_arcs_come_before_mutants_and_mutants_before_outcomes() -> None:
    strength = _strength(("a", "1234"), ("ab", ""), ("", "56"), ("", ""), ("a", "1"))
    assert choose_tests(_examples(1, 1, 1, 2, 1), strength, 4) == [1, 0, 2, 3]


def test_what_adds_nothing_fills_the_rest_and_no_more_than_the_limit_is_chosen() -> None:
    strength = _strength(*[("a", "1")] * 5)
    assert choose_tests(_examples(*"aaaaa"), strength, 3)[0] == 0
    assert len(set(choose_tests(_examples(*"aaaaa"), strength, 3))) == 3
    assert sorted(choose_tests(_examples(*"aaaaa"), strength, 9)) == [0, 1, 2, 3, 4]


def test_the_shortest_of_equals_is_taken() -> None:
    examples = [{"args": ["x" * size], "kwargs": {}, "output": 1} for size in (9, 2, 5)]
    assert choose_tests(examples, _strength(("a", ""), ("a", ""), ("a", "")), 1) == [1]
