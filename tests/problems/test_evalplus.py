"""EvalPlus's files and exports as problems: every row here is written for the test, in the form of theirs."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import InputError
from megatron_codex.evaluation.judge_samples import evaluate_samples
from megatron_codex.problems.argument_types import calls_of, restore
from megatron_codex.problems.readers import read_problems
from megatron_codex.problems.reference_answers import with_expected_outputs
from megatron_codex.records import Problem
from megatron_codex.tagged import decode, encode
from tests.evaluation.inputs import rows_of

HALF = {
    "task_id": "HumanEval/900",
    "prompt": 'from typing import List\n\n\ndef halves(xs: List[int]) -> List[float]:\n    """ Half of each. """\n',
    "contract": "\n    assert isinstance(xs, list) # $_CONTRACT_$\n",
    "entry_point": "halves",
    "canonical_solution": "    xs[:] = xs[::-1]\n    return [x / 2 for x in reversed(xs)]\n",
    "base_input": [[[1, 2]], [[]]],
    "plus_input": [[[3]], [[10**30]]],
    "atol": 0,
}
PAIRS = {
    "task_id": "Mbpp/901",
    "prompt": '"""\nWrite a function to swap the pairs of a list.\nassert swap([(1, "a")]) == [("a", 1)]\n"""\n',
    "entry_point": "swap",
    "canonical_solution": "def swap(pairs):\n    return [(b, a) for a, b in pairs if isinstance((a, b), tuple)]\n",
    "base_input": [[[[1, "a"]]]],
    "plus_input": [[[[2, "b"], [3, "c"]]], [[]]],
    "atol": 0,
    "assertion": 'assert swap([(1, "a")]) == [("a", 1)]',
}
ZERO = {
    **HALF,
    "task_id": "HumanEval/902",
    "prompt": 'def find_zero(xs: list):\n    """ A zero of a polynomial. """\n',
    "entry_point": "find_zero",
    "canonical_solution": "    return -xs[0] / xs[1]\n",
    "base_input": [[[1, 2]], [[-6, 3]]],
    "plus_input": [],
    "atol": 0.0001,
}
CHECKS = """
import numpy as np

def is_floats(x) -> bool:
    return isinstance(x, float)

def assertion(out, exp, atol):
    assert out == exp
"""
EXPORT = {
    "task_id": "HumanEval/903",
    "prompt": 'def double(x):\n    """ Twice. """\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": CHECKS
    + """
def check(candidate):
    inputs = [[1], [(2, -inf)], [1.5]]
    results = [2, (2, -inf, 2, -inf), 3.0]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
""",
}
EXPORT_WITH_REFERENCE = {
    **EXPORT,
    "task_id": "HumanEval/904",
    "test": CHECKS
    + """
def ref_func(x):
    return 2 * x

def check(candidate):
    inputs = [[7], [0.5]]
    for i, inp in enumerate(inputs):
        assertion(candidate(*inp), ref_func(*inp), 0.01)
""",
}
MBPP_EXPORT = {
    "task_id": 905,
    "code": "def common(a, b):\n    return list(set(a) & set(b))",
    "prompt": "Write a function to find what two tuples share.",
    "source_file": "x.ipynb",
    "test_imports": [],
    "test_list": ["assert set(common((1, 2), (2, 3))) == {2}"],
    "test": CHECKS
    + """
inputs = [[(1, 2), (2, 3)], [(), ()]]
results = [[2], []]
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion(common(*inp), exp, 0)
""",
}
SETS = {**MBPP_EXPORT, "task_id": 906, "code": "def Diff(a, b):\n    return [x for x in a if x not in b]"}
SETS["test_list"] = ["assert Diff([1, 3, 3], [1]) == [3, 3]"]
SETS["test"] = str(MBPP_EXPORT["test"]).replace("common", "Diff").replace("results = [[2], []]", "results = [[1], []]")


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(tmp_path: Path, *rows: Any) -> list[Problem]:
    return read_problems(write(tmp_path / "plus.jsonl", *rows))


def completed(problems: list[Problem], **changes: Any) -> dict[str, Problem]:
    limits: dict[str, Any] = {"timeout_s": 1.0, "memory_bytes": 1 << 30, "allow_level_b": False, "workers": 2}
    return with_expected_outputs(problems, **{**limits, **changes})


def outputs(problem: Problem) -> list[Any]:
    return [decode(example["output"]) for example in problem.io_examples]


def test_outputs_are_those_of_the_reference(tmp_path: Path, isolation: None) -> None:
    waiting = read(tmp_path, HALF, PAIRS)
    assert all(not problem.io_examples and not problem.test for problem in waiting)
    halves, pairs = completed(waiting).values()
    assert outputs(halves) == [[0.5, 1.0], [], [1.5], [5e29]]
    assert [example.get("tolerance") for example in halves.io_examples] == [1e-6, None, 1e-6, 1e-6]
    assert [decode(example["args"][0]) for example in halves.io_examples] == [[1, 2], [], [3], [10**30]]
    assert halves.signature.startswith("def halves(") and halves.provenance == {"num_tests": 4}
    assert outputs(pairs) == [[("a", 1)], [("b", 2), ("c", 3)], []]
    assert decode(pairs.io_examples[1]["args"][0]) == [(2, "b"), (3, "c")], "tuples, as in the assertion"


def test_exports_are_read_from_their_test(tmp_path: Path, isolation: None) -> None:
    double, referenced, common = read(tmp_path, EXPORT, EXPORT_WITH_REFERENCE, MBPP_EXPORT)
    assert outputs(double) == [2, (2, -inf, 2, -inf), 3.0]
    assert [example.get("tolerance") for example in double.io_examples] == [None, None, 1e-6]
    assert not referenced.io_examples
    referenced = completed([referenced])["HumanEval/904"]
    assert outputs(referenced) == [14, 1.0]
    assert [example["tolerance"] for example in referenced.io_examples] == [0.01, 0.01]
    assert common.task_id == "Mbpp/905" and common.test == "" and outputs(common) == [[2], []]
    assert decode(common.io_examples[0]["args"][0]) == (1, 2)


RIGHT_AND_WRONG = {
    "HumanEval/900": ("    return [x * 0.5 for x in xs]\n", "    return [x for x in xs]\n"),
    "Mbpp/901": ("def swap(pairs):\n    return [p[::-1] for p in pairs]\n", "def swap(pairs):\n    return pairs\n"),
    "HumanEval/902": ("    return -xs[0] / xs[1] + 1e-6\n", "    return -xs[0] / xs[1] + 1e-3\n"),
    "HumanEval/903": ("    return x + x\n", "    return 2\n"),
    "HumanEval/904": ("    return x + x\n", "    return 14\n"),
    "Mbpp/905": ("    return [x for x in a if x in b]\n", "    return list(a)\n"),
    "Mbpp/906": ("    return [1, 1] if a else []\n", "    return [x for x in a if x != 1]\n"),
}


def test_samples_are_judged_by_them(tmp_path: Path, isolation: None) -> None:
    rows = (HALF, PAIRS, ZERO, EXPORT, EXPORT_WITH_REFERENCE, MBPP_EXPORT, SETS)
    samples = [
        {"task_id": task, "completion": text, "right": right}
        for task, texts in RIGHT_AND_WRONG.items()
        for text, right in zip(texts, (True, False), strict=True)
    ]
    config = EvaluationConfig(
        samples=write(tmp_path / "samples.jsonl", *samples),
        problems=write(tmp_path / "plus.jsonl", *rows, {**HALF, "task_id": "HumanEval/999", "canonical_solution": "!"}),
        output=tmp_path / "results.jsonl",
    )
    summary = evaluate_samples(config)
    assert summary is not None and summary["pass@1"] == 0.5, "a reference that no sample needs is not run"
    for row in rows_of(tmp_path / "results.jsonl"):
        assert row["passed"] == row["right"], row


FAULTY_REFERENCES = {
    "raises": ("    raise ValueError('no')\n", r"HumanEval/900: input 1 of 4: ValueError: no"),
    "no_python": ("  !\n", r"HumanEval/900: \w*Error: "),
    "loops": ("    while True: pass\n", r"HumanEval/900: used up 0.5 s of CPU time"),
    "exits": ("    import os; os._exit(3)\n", r"HumanEval/900: its process ended \(exit 3\)"),
    "no_data": ("    return object()\n", r"HumanEval/900: input 1 of 4: the answer is no plain data"),
    "generator": ("    yield 1\n", r"HumanEval/900: input 1 of 4: an iterator"),
}


@pytest.mark.parametrize("name", FAULTY_REFERENCES)
def test_reference_that_fails_is_named(name: str, tmp_path: Path, isolation: None) -> None:
    source, message = FAULTY_REFERENCES[name]
    problems = read(tmp_path, {**HALF, "canonical_solution": source})
    with pytest.raises(InputError, match=r"problems: the reference solution gives no expected outputs: " + message):
        completed(problems, timeout_s=0.5)


def test_match_objects_count_as_found(tmp_path: Path, isolation: None) -> None:
    source = "import re\ndef check_str(text):\n    return re.search('^[aeiou]', text)\n"
    row = {**PAIRS, "entry_point": "check_str", "canonical_solution": source, "base_input": [["annie"], ["dawood"]]}
    problem = completed(read(tmp_path, {**row, "plus_input": [], "assertion": ""}))["Mbpp/901"]
    assert "(['annie'], True), (['dawood'], False)" in problem.test


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "inputs_of_no_list": ({**HALF, "base_input": [1]}, "base_input: got .* must be a list of lists of arguments"),
    "no_input": ({**HALF, "base_input": [], "plus_input": []}, "base_input: has no input"),
    "tolerance": ({**HALF, "atol": -1}, "atol: got -1; must be a number from 0 up"),
    "result_that_is_no_literal": (
        {**EXPORT, "test": EXPORT["test"].replace("results = [2,", "results = [np.float64(2),")},
        "test: its inputs and results must be literals",
    ),
    "results_that_are_missing": (
        {**EXPORT, "test": EXPORT["test"].replace("results = [2, ", "results = [")},
        "test: 3 inputs have 2 results",
    ),
    "too_large": (
        {**EXPORT, "test": EXPORT["test"].replace("[[1],", f"[['{'x' * 9_000_000}'],")},
        "test: inputs of 9000... bytes; at most 8323072 can be handed to a program",
    ),
    "mbpp_with_another_test": ({**MBPP_EXPORT, "test": "assert common((), ()) == []"}, "test: .* EvalPlus's script"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_named_by_file_and_line(name: str, tmp_path: Path) -> None:
    row, message = MISTAKES[name]
    with pytest.raises(InputError, match=rf"plus\.jsonl:2: {message}") as raised:
        read(tmp_path, {**HALF, "task_id": "HumanEval/1"}, row)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_tests_of_other_forms_stay_as_they_are(tmp_path: Path) -> None:
    test = "def check(candidate):\n    inputs = [1]\n    for x in inputs:\n        assert candidate(x) == 2\n"
    (problem,) = read(tmp_path, {**EXPORT, "test": test})
    assert problem.test == test and not problem.io_examples


RESTORED: dict[str, tuple[str, Any, Any]] = {
    "tuples": ("f((1, 2), [3])", [[1], [2]], [(1,), [2]]),
    "tuples_in_a_list": ("f([(1, 2)], 3)", [[[1, 2], [3, 4]], 5], [[(1, 2), (3, 4)], 5]),
    "deeper_than_the_calls": ("f((1, (2, 3)))", [[1, [2, [3]]]], [(1, (2, (3,)))]),
    "tuples_in_a_dict": ("f({'a': (1, 2)})", [{"b": [3, 4]}], [{"b": (3, 4)}]),
    "sets_and_empty_dicts": ("f([{}, {1}])", [[[], [1, 2]]], [[{}, {1, 2}]]),
    "complex": ("f(0, 1j)", ["1", "2j"], [1, 2j]),
    "lists_and_tuples": ("f([1], 2); f((1, 2), 3)", [[1], 2], [[1], 2]),
    "strings_stay": ("f('a')", ["1"], ["1"]),
    "calls_that_show_nothing": ("f(x, *y)", [[1]], [[1]]),
    "no_python": ("f(", [[1]], [[1]]),
}


@pytest.mark.parametrize("name", RESTORED)
def test_types_that_json_has_not_come_from_the_assertions(name: str) -> None:
    source, stored, restored = RESTORED[name]
    assert repr(restore([stored], calls_of(source, "f"))) == repr([restored])
    assert encode(restored)


@pytest.mark.parametrize(("off", "verdict"), [("0.9e-6", "passed"), ("1.2e-6", "wrong"), ("1e-3", "wrong")])
def test_floats_may_be_off_by_evalpluss_tolerance(tmp_path: Path, isolation: None, off: str, verdict: str) -> None:
    sample = {"task_id": "HumanEval/900", "completion": f"    return [x / 2 + {off} for x in xs]\n"}
    config = EvaluationConfig(
        samples=write(tmp_path / "samples.jsonl", sample),
        problems=write(tmp_path / "plus.jsonl", {**HALF, "plus_input": [[[3]]]}),
        output=tmp_path / "results.jsonl",
        workers=1,
    )
    evaluate_samples(config)
    assert [row["verdict"] for row in rows_of(tmp_path / "results.jsonl")] == [verdict]
