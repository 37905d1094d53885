"""Which families are validated on: by name alone, never with a near-copy left in training."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from megatron_codex.data.family_split import Pair, is_held_out, split_by_family
from megatron_codex.errors import InputError

SHARE = 0.3


def _pairs(families: Sequence[str]) -> list[Pair]:
    return [Pair(prompt=f"{number} of {name}", completion="x", family=name) for number, name in enumerate(families)]


MANY = _pairs([f"family {number % 50}" for number in range(200)])


@settings(deadline=None, max_examples=25)
@given(st.permutations(MANY), st.integers(160, 200))
def test_a_family_s_side_depends_on_its_name_alone(shuffled: list[Pair], size: int) -> None:
    """Whatever the order, and whichever of 40 other problems the file lacks (too few to empty a side)."""
    split = split_by_family(shuffled[:size], share=SHARE)
    assert sorted(pair.prompt for pair in (*split.train, *split.valid)) == sorted(p.prompt for p in shuffled[:size])
    assert all(is_held_out(pair.family, share=SHARE) for pair in split.valid)
    assert not any(is_held_out(pair.family, share=SHARE) for pair in split.train)
    assert {pair.family for pair in split.train}.isdisjoint(pair.family for pair in split.valid)


def test_the_sides_never_change() -> None:
    """Golden: what one run has held out, no later one may train on."""
    assert [number for number in range(50) if is_held_out(f"family {number}", share=0.1)] == GOLDEN


def test_a_larger_share_holds_out_the_same_families_and_more() -> None:
    names = [f"project {number}" for number in range(20_000)]
    sides = [{name for name in names if is_held_out(name, share=share)} for share in (0.0, 0.1, 0.2, 1.0)]
    assert sides[0] == set() and sides[0] < sides[1] < sides[2] < sides[3] == set(names)
    assert len(sides[1]) == pytest.approx(2000, abs=130)  # three standard errors
    assert len(sides[2]) == pytest.approx(4000, abs=170)


def test_what_nearly_equals_a_held_out_problem_is_left_out_of_training() -> None:
    held_out, trained = (next(f for f in map(str, range(99)) if is_held_out(f, share=SHARE) == side) for side in (1, 0))
    pairs = [
        Pair(prompt="a", completion="x", family=held_out, likenesses={1, 2}),
        Pair(prompt="b", completion="x", family=trained, likenesses={2, 3}),
        Pair(prompt="c", completion="x", family=trained, likenesses={3, 4}),
    ]
    split = split_by_family(pairs, share=SHARE)
    assert [pair.prompt for pair in split.valid] == ["a"]
    assert [pair.prompt for pair in split.train] == ["c"]
    assert split.counts == {
        "train_problems": 1,
        "train_families": 1,
        "valid_problems": 1,
        "valid_families": 1,
        "left_out_nearly_held_out": 1,
    }


def test_a_share_that_leaves_a_side_empty_is_refused_with_one_that_does_not() -> None:
    pairs = _pairs(["one", "two", "three", "four"])
    for share, side in ((1e-6, "validate on"), (0.999999, "train on")):
        with pytest.raises(InputError, match=f"leaves nothing to {side}, of 4 families") as caught:
            split_by_family(pairs, share=share)
        (example,) = re.findall(r"for example ([\d.]+)", str(caught.value))
        assert split_by_family(pairs, share=float(example)).counts["valid_families"] == 1
    with pytest.raises(InputError, match="of 1 families of problems; give more problems"):
        split_by_family(_pairs(["one", "one"]), share=SHARE)


GOLDEN = [1, 7, 26]
