"""Which nodes are bad, from what all ranks found."""

from __future__ import annotations

from typing import Any

import pytest

from megatron_codex.config.load import build_config
from megatron_codex.config.preflight import PreflightConfig
from megatron_codex.launch.preflight.exchange import Address
from megatron_codex.launch.preflight.facts import Facts
from megatron_codex.launch.preflight.run import judge_links
from megatron_codex.launch.preflight.verdict import differing, missing_ranks, skewed_clocks, unreachable


@pytest.mark.parametrize(
    ("pairs", "bad"),
    [
        pytest.param([("a", "b")], ["b"], id="the_one_that_was_called"),
        pytest.param([("b", "a")], ["a"], id="the_first_node_when_it_was_called"),
        pytest.param([("a", "b"), ("b", "a")], ["b"], id="not_the_first_when_either"),
        pytest.param([("a", "0"), ("0", "a")], ["0"], id="not_the_first_whatever_its_name"),
        pytest.param([("b", "c"), ("b", "d"), ("b", "e")], ["b"], id="the_caller_of_all"),
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


def _link_complaints(links: dict[int, dict[str, Any]], *, ranks_of_a_node: int = 1) -> list[tuple[str | None, str]]:
    """(node, text) of the complaints about four ranks' links."""
    tree = {
        "model": {"num_layers": 1, "hidden_size": 8, "num_attention_heads": 1, "seq_length": 8},
        "optimizer": {"lr": 1e-3},
        "data": {"data_prefix": "x"},
        "training": {"output_dir": "x", "train_iters": 1, "global_batch_size": 4},
        "preflight": {"min_link_gb_s": 2.0, "timeout_s": 30},
    }
    config = build_config(PreflightConfig, tree)
    nodes = [f"node{rank // ranks_of_a_node}" for rank in range(4)]
    addresses = {rank: Address(rank=rank, node=node, host="h", port=1) for rank, node in enumerate(nodes)}
    good = {rank: {"wrong": {}, "gb_s": {str((rank + 1) % 4): 2.0, str((rank - 1) % 4): 9.0}} for rank in range(4)}
    answers = {rank: found for rank, found in (good | links).items() if found}
    complaints = judge_links(answers, addresses, config, 4)
    assert {complaint.check for complaint in complaints} <= {"link", "answers"}
    return [(complaint.node, complaint.text) for complaint in complaints]


def test_links_that_are_right_and_as_fast_as_is_asked_are_good() -> None:
    assert _link_complaints({}) == []


def test_a_wrong_sum_names_the_node_that_both_of_its_links_have_in_common() -> None:
    wrong = {"wrong": {"2": "7 of 9 sums are wrong"}, "gb_s": {}}
    ((node, text),) = _link_complaints({1: wrong, 3: wrong})
    assert node == "node2"
    assert text == "7 of 9 sums are wrong between rank 1 (node1) and rank 2 (node2) (and 1 more pairs with it)"


def test_a_slow_link_is_named_with_its_speed_and_bound() -> None:
    ((node, text),) = _link_complaints({0: {"wrong": {}, "gb_s": {"3": 1.999, "1": 2.0}}})
    assert node == "node3"
    assert text == "1.999 GB/s between rank 0 (node0) and rank 3 (node3), and preflight.min_link_gb_s is 2"


def test_a_link_within_a_node_is_that_nodes() -> None:
    wrong = {"wrong": {"3": "1 of 9 sums are wrong"}, "gb_s": {}}
    ((node, _),) = _link_complaints({2: wrong}, ranks_of_a_node=2)
    assert node == "node1"


def test_a_rank_that_measured_nothing_is_missed() -> None:
    ((node, text),) = _link_complaints({2: {}})
    assert (node, text) == ("node2", "rank 2 of 4 did not answer within 30 s")


def test_missing_ranks_of_a_node_are_one_complaint() -> None:
    found = missing_ranks([1, 4, 5], {1: "a", 4: "b", 5: "b"}, world_size=8, timeout_s=15)
    assert [str(complaint) for complaint in found] == [
        "a: answers: rank 1 of 8 did not answer within 15 s",
        "b: answers: ranks 4, 5 of 8 did not answer within 15 s",
    ]
