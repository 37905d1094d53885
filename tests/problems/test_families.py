"""Families and near-copies of problems, and what Codex-D leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.data.family_split import split_by_family
from megatron_codex.errors import InputError
from megatron_codex.problems.building_blocks.generate import generate_problems
from megatron_codex.problems.families import family_of, likenesses
from megatron_codex.problems.pairs import NOT_WRITTEN, pairs_reader
from megatron_codex.records import Problem

PROBLEM = Problem(
    task_id="t/1",
    prompt='def mean(values):\n    """The mean of the numbers that are not negative."""\n',
    entry_point="mean",
    canonical_solution="",
    test="",
    signature="def mean(values):\n",
    docstring="The mean of the numbers that are not negative.",
    body="    kept = [value for value in values if value >= 0]\n    total = sum(kept)\n    return total / len(kept)\n",
)
OTHER = replace(
    PROBLEM,
    signature="def join_paths(base, *names):\n",
    docstring="One path of several names, with forward slashes between them.",
    body='    return "/".join([base.rstrip("/"), *names])\n',
)


def _family(**provenance: Any) -> str:
    return family_of(replace(PROBLEM, provenance=provenance))


def test_families_by_provenance() -> None:
    assert _family(project="a_b", version="1") == _family(project="A-b", version="2", kind="method") != _family()
    assert _family(repository="https://x/y") != _family(repository="https://x/z")
    blocks = {"family": "codex_blocks", "chain_length": 2}
    assert _family(**blocks, operations=["a", "b"]) == _family(**blocks, operations=["b", "a"], argument="x")
    assert len({_family(**blocks, operations=given) for given in (["a", "b"], ["a"], ["a", "a"])}) == 3
    assert _family(family="strings") == _family(family="strings", difficulty=3) != _family(family="lists")
    # Nothing but a statement: the same problem from two sources is of one family.
    assert family_of(replace(PROBLEM, task_id="u/9", body="    pass\n", source="elsewhere")) == family_of(PROBLEM)
    assert family_of(OTHER) != family_of(PROBLEM)


@pytest.mark.parametrize(
    "changes",
    [
        {"docstring": "Something else altogether is said here, in other words."},
        {"docstring": "", "body": PROBLEM.body.replace("kept", "left").replace("value ", "number ")},
        {"docstring": "THE MEAN of the numbers\n    that are not  negative", "body": "    return 0\n"},
        {"body": PROBLEM.body.replace(">= 0", "> 0"), "docstring": PROBLEM.docstring + " Any."},
    ],
    ids=["same_body", "renamed_variables", "same_docstring", "slightly_changed"],
)
def test_near_copies_share_a_likeness(changes: dict[str, str]) -> None:
    if "number " in changes.get("body", ""):
        changes = changes | {"body": changes["body"].replace("[value", "[number").replace("if value", "if number")}
    first, copy, other = likenesses([PROBLEM, replace(PROBLEM, **changes), OTHER])
    assert first & copy
    assert not other & (first | copy)
    assert likenesses([OTHER, PROBLEM]) == [other, first]  # of the problem alone


def test_problems_without_words_or_python_have_likenesses_of_their_own() -> None:
    empty = replace(PROBLEM, prompt="", signature="", docstring="", body="")
    none, broken = likenesses([empty, replace(empty, prompt="def (:", canonical_solution="an odd text of many words")])
    assert broken and not none & broken


def test_building_blocks_are_split_by_their_operations(tmp_path: Path) -> None:
    problems = generate_problems("codex_blocks", num_problems=300, chain_lengths=[1, 2], split="train", seed=1)
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem.to_json()) + "\n" for problem in problems))
    split = split_by_family(pairs_reader("codex_s")(path, families=True).pairs, share=0.2)
    assert {pair.family for pair in split.train}.isdisjoint(pair.family for pair in split.valid)
    held_out = {key for pair in split.valid for key in pair.likenesses}
    assert not any(held_out & set(pair.likenesses) for pair in split.train)
    assert len(split.train) > 150 < 10 * len(split.valid)
    assert len(split.train) + len(split.valid) + split.counts["left_out_nearly_held_out"] == 300


def test_codex_d_trains_on_docstrings_that_people_wrote_or_that_say_nothing_of_it(tmp_path: Path) -> None:
    marks: list[dict[str, Any]] = [{"docstring": "written"}, {"docstring": "missing"}, {"docstring": "generated"}, {}]
    rows = [replace(PROBLEM, task_id=f"t/{n}", docstring=f"Say {n}.", provenance=mark) for n, mark in enumerate(marks)]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
    found = pairs_reader("codex_d")(path)
    assert [pair.completion for pair in found.pairs] == ['    """Say 0."""\n', '    """Say 3."""\n']
    assert found.left_out == {NOT_WRITTEN: 2}
    whole = pairs_reader("codex_s")(path)
    assert (len(whole.pairs), whole.left_out) == (4, {})
    unmarked = replace(rows[3], docstring="")
    path.write_text(json.dumps(unmarked.to_json()) + "\n")
    with pytest.raises(InputError, match="t/3: docstring"):
        pairs_reader("codex_d")(path)
