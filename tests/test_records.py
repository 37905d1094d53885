from __future__ import annotations

import pytest

from megatron_codex.errors import InputError
from megatron_codex.records import Completion, Problem

ROW = {
    "task_id": "t/0",
    "prompt": "def f():\n",
    "entry_point": "f",
    "canonical_solution": "    return 1",
    "test": "def check(c): ...",
}


def test_human_evals_fields_are_enough_for_a_problem() -> None:
    problem = Problem.from_json(ROW)
    assert problem.io_examples == ()
    assert Problem.from_json(problem.to_json()) == problem


def test_a_missing_field_is_named() -> None:
    row = {key: value for key, value in ROW.items() if key not in ("prompt", "test")}
    with pytest.raises(InputError, match=r"p\.jsonl:3: missing field prompt, test"):
        Problem.from_json(row, where="p.jsonl:3")


@pytest.mark.parametrize(("key", "value"), [("task_id", 3), ("prompt", None), ("io_examples", "x"), ("provenance", [])])
def test_a_wrong_type_is_named(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"x:1: {key}"):
        Problem.from_json({**ROW, key: value}, where="x:1")


def test_a_completion_keeps_the_fields_it_does_not_know() -> None:
    row = {"task_id": "t/0", "completion": "x", "mean_logp": -1, "model": "other", "tags": [1]}
    completion = Completion.from_json(row)
    assert completion.extra == {"model": "other", "tags": [1]}
    written = completion.to_json()
    assert written["model"] == "other"
    assert Completion.from_json(written) == completion


def test_true_is_not_a_number() -> None:
    with pytest.raises(InputError, match="num_tokens"):
        Completion.from_json({"task_id": "t", "completion": "", "num_tokens": True})
