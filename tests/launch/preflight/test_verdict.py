"""Which nodes are bad, from what all ranks found."""

from __future__ import annotations

import pytest

from megatron_codex.launch.preflight.facts import Facts
from megatron_codex.launch.preflight.verdict import differing, skewed_clocks, unreachable


@pytest.mark.parametrize(
    ("pairs", "bad"),
    [
        pytest.param([("a", "b")], ["b"], id="the_one_that_was_called"),
        pytest.param([("b", "a")], ["a"], id="the_first_node_when_it_was_called"),
        pytest.param([("a", "b"), ("b", "a")], ["b"], id="not_the_first_when_either"),
        pytest.param([("a", "c"), ("b", "c"), ("c", "a"), ("c", "b")], ["c"], id="one_explains_all"),
        pytest.param([("a", "b"), ("c", "d")], ["b", "d"], id="two"),
        pytest.param([], [], id="none"),
    ],
)
def test_as_few_nodes_as_explain_all_pairs(pairs: list[tuple[str, str]], bad: list[str]) -> None:
    found = unreachable(dict.fromkeys(pairs, "timed out"), first_node="a")
    assert sorted(complaint.node or "" for complaint in found) == bad


def test_a_clock_is_compared_with_the_median_so_that_the_first_node_may_be_the_bad_one() -> None:
    assert [found.node for found in skewed_clocks({"b": 10.0, "c": 10.1}, first_node="a", most_s=2)] == ["a"]
    assert [found.node for found in skewed_clocks({"b": 0.1, "c": -3.0}, first_node="a", most_s=2)] == ["c"]
    assert skewed_clocks({"b": 1.9}, first_node="a", most_s=2) == []


def _facts(rank: int, **others: object) -> Facts:
    values: dict[str, object] = {"code": "x", "versions": {"torch": "2"}, "data": {"d.bin": "1"}, "disk_mb_s": 1.0}
    return Facts(rank=rank, node=f"node{rank}", **(values | others))  # type: ignore[arg-type]


def test_data_that_one_node_cannot_read_or_has_otherwise_are_its_fault_and_else_the_jobs() -> None:
    unread = {"data": {"d.bin": "error: No such file or directory"}}
    (one,) = differing([_facts(0), _facts(1, **unread), _facts(2)])
    assert (one.node, one.check) == ("node1", "data") and "d.bin cannot be read: No such file" in one.text
    (other,) = differing([_facts(0), _facts(1), _facts(2, data={"d.bin": "2"})])
    assert other.node == "node2" and "not what the others have" in other.text
    (every,) = differing([_facts(rank, **unread) for rank in range(3)])
    assert (every.node, every.check) == (None, "data")


def test_a_package_that_is_missing_on_one_node_is_named() -> None:
    (found,) = differing([_facts(0), _facts(1), _facts(2, versions={})])
    assert (found.node, found.text) == ("node2", "torch none, the others have 2")
