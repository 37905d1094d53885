"""Problem sets of every form, read into Candidates."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from megatron_codex.errors import InputError
from megatron_codex.problems.contests.candidate import Candidate, Limits
from megatron_codex.problems.contests.formats import find_candidates
from megatron_codex.problems.contests.solution_class import functions_of_class
from megatron_codex.problems.contests.values import call_example

SUMMING = "a, b = map(int, input().split())\nprint(a + b)\n"
PYTHON2 = "print 'no'\n"
APPS_SCRIPT = {
    "problem_id": 7,
    "question": "Add.\n\n-----Sample Input-----\n9 9\n\n-----Sample Output-----\n18\n",
    "solutions": json.dumps([PYTHON2, SUMMING]),
    "input_output": json.dumps({"inputs": ["1 2\n", ["3 4"]], "outputs": ["3\n", ["7"]]}),
    "difficulty": "interview",
    "starter_code": "",
}
APPS_FUNCTION = {
    "problem_id": 8,
    "question": "Double it. double(4) == 8",
    "solutions": json.dumps(["BASE = 2\ndef double(x):\n    '''Old.'''\n    return BASE * x\n"]),
    "input_output": json.dumps({"fn_name": "double", "inputs": [[1], [2]], "outputs": [[2], [4]]}),
}
CODE_CONTESTS: dict[str, Any] = {
    "name": "1_A. Sum",
    "description": "Add.\n\nExamples\n\nInput\n\n9 9\n\nOutput\n\n18\n",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": [], "output": []},
    "generated_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "solutions": {"language": [2, 1, 3], "solution": ["int main(){}", "x = 2\n", SUMMING]},
    "incorrect_solutions": {"language": [3, 2], "solution": ["print(3)\n", "int main(){}"]},
    "time_limit": {"seconds": 2, "nanos": 500_000_000},
    "source": 2,
    "input_file": "",
}
LEETCODE = {
    "slug": "two-sum",
    "content": "<p>Indices of two numbers that add up, in any order.</p><pre>Input: nums = [2,7], target = 9\n"
    "Output: [0,1]</pre>",
    "starter_code": "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        ",
    "solution": "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n"
    "        # Comments stay.\n        return self.search(nums, target, defaultdict(int))\n\n"
    "    def search(self, nums, target, seen):\n        for place, number in enumerate(nums):\n"
    "            if target - number in seen:\n                return [seen[target - number], place]\n"
    "            seen[number] = place\n",
}


def _write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _found(path: Path, form: str = "auto", **limits: int) -> list[Candidate]:
    return list(find_candidates(path, form, Limits(**limits)))


def test_apps_scripts(tmp_path: Path) -> None:
    (found,) = _found(_write(tmp_path / "apps.jsonl", APPS_SCRIPT))
    with_sample, plain = found.readings
    tests = ({"input": "1 2\n", "output": "3\n"}, {"input": "3 4\n", "output": "7\n"})
    assert found.task_id == "APPS/7"
    assert plain.stdio_examples == tests
    assert with_sample.stdio_examples == (*tests, {"input": "9 9\n", "output": "18\n"})
    assert plain.prompt.startswith('"""\nAdd.\n') and plain.canonical_solution == SUMMING
    assert plain.provenance == {"difficulty": "interview"}


def test_apps_functions_have_outputs_in_lists_or_not(tmp_path: Path) -> None:
    (found,) = _found(_write(tmp_path / "apps.jsonl", APPS_FUNCTION))
    outputs = [[example["output"] for example in reading.io_examples] for reading in found.readings]
    assert outputs == [[2, 4, 8], [2, 4], [[2], [4], 8], [[2], [4]]]
    best = found.readings[1]
    assert best.prompt == 'BASE = 2\n\n\ndef double(x):\n    """Double it. double(4) == 8"""\n'
    assert best.canonical_solution == "    return BASE * x\n"
    assert best.test == "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 4\n"


def test_apps_folders(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "0001"
    folder.mkdir(parents=True)
    (folder / "question.txt").write_text(APPS_SCRIPT["question"])  # type: ignore[arg-type]
    (folder / "solutions.json").write_text(APPS_SCRIPT["solutions"])  # type: ignore[arg-type]
    (folder / "input_output.json").write_text(APPS_SCRIPT["input_output"])  # type: ignore[arg-type]
    (folder / "metadata.json").write_text('{"difficulty": "competition", "url": "u"}')
    (found,) = _found(tmp_path)
    assert found.task_id == "APPS/0001"
    assert len(found.readings[1].stdio_examples) == 2
    assert found.readings[0].provenance == {"difficulty": "competition", "url": "u"}


@pytest.mark.parametrize("kind", ["jsonl", "objects", "parquet"])
def test_code_contests(tmp_path: Path, kind: str) -> None:
    row = CODE_CONTESTS
    if kind == "objects":
        row = {**row, "public_tests": [{"input": "1 2\n", "output": "3\n"}]}
    path = tmp_path / f"rows.{'parquet' if kind == 'parquet' else 'jsonl'}"
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    else:
        _write(path, row)
    (found,) = _found(path)
    plain = found.readings[1]
    assert found.task_id == "CodeContests/1_A. Sum"
    assert [example["input"] for example in plain.stdio_examples] == ["1 2\n", "5 5\n"]
    assert [example["input"] for example in found.readings[0].stdio_examples] == ["1 2\n", "5 5\n", "9 9\n"]
    assert plain.canonical_solution == SUMMING and found.wrong_programs == ("print(3)\n",)
    assert plain.provenance == {"judge": "Codeforces", "time_limit_s": 2.5}


def test_tests_are_limited_in_number_and_size(tmp_path: Path) -> None:
    row = {**CODE_CONTESTS, "public_tests": {"input": ["x" * 99, "1", "2", "3"], "output": ["", "1", "2", "3"]}}
    (found,) = _found(_write(tmp_path / "p.jsonl", row), max_tests=2, max_test_bytes=80)
    assert [example["input"] for example in found.readings[-1].stdio_examples] == ["1", "2"]


def test_leetcode_methods_become_functions(tmp_path: Path) -> None:
    (found,) = _found(_write(tmp_path / "p.jsonl", LEETCODE))
    (problem,) = found.readings
    assert found.task_id == "LeetCode/two-sum"
    assert problem.signature == "def twoSum(nums: List[int], target: int) -> List[int]:\n"
    assert problem.body == "    # Comments stay.\n    return search(nums, target, defaultdict(int))\n"
    assert problem.context.startswith(
        "from typing import List\nfrom collections import defaultdict\n\n\ndef search(nums,"
    )
    assert problem.io_examples == (call_example([[2, 7], 9], {}, [0, 1], unordered=True),)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("    def f(self, x: Optional[ListNode]) -> int:\n        return 1\n", "needs ListNode"),
        ("    def f(self, x: 'TreeNode') -> int:\n        return 1\n", "needs TreeNode"),
        ("    def f(self, x: list) -> None:\n        x.sort()\n", "answers in place"),
        ("    def f(self, x):\n        self.y = x\n        return x\n", "class Solution keeps state"),
        ("    y = 3\n    def f(self, x):\n        return x\n", "class Solution keeps state"),
        ("    def f(self, g):\n        return self.g(g)\n    def g(self, x):\n        return x\n", "keeps state"),
    ],
    ids=["list nodes", "tree nodes", "in place", "attributes", "class attributes", "clashing names"],
)
def test_classes_that_are_no_functions_are_rejected(tmp_path: Path, body: str, reason: str) -> None:
    row = {**LEETCODE, "starter_code": "", "solution": f"class Solution:\n{body}"}
    (found,) = _found(_write(tmp_path / "p.jsonl", row))
    assert reason in found.reason and found.stage == "usable"


def test_methods_keep_their_meaning_as_functions() -> None:
    code = (
        "class Solution(object):\n    def f(self, n, text='self.f('):\n"
        "        return text if n < 1 else self.f(n - 1, text)\n\n"
        "    @staticmethod\n    def g(n):\n        return Solution().f(n)\n"
    )
    names: dict[str, Any] = {}
    exec(functions_of_class(code, "f"), names)
    assert names["f"](2) == "self.f(" and names["g"](1) == "self.f("


CANONICAL = {
    "exercise": "say-it",
    "cases": [
        {"uuid": "1", "description": "", "property": "sayIt", "input": {"maxDepth": 1, "list": [1]}, "expected": "a"},
        {
            "description": "group",
            "cases": [
                {"uuid": "2", "description": "", "property": "sayIt", "input": {"maxDepth": 2}, "expected": "old"},
                {
                    "uuid": "3",
                    "reimplements": "2",
                    "description": "",
                    "property": "sayIt",
                    "input": {"maxDepth": 2},
                    "expected": {"error": "too deep"},
                },
                {
                    "uuid": "4",
                    "description": "",
                    "property": "sayIt",
                    "input": {"maxDepth": 3},
                    "expected": 1,
                    "scenarios": ["random"],
                },
                {"uuid": "5", "description": "", "property": "sum", "input": {"x": 1}, "expected": 31.69},
                {"uuid": "6", "description": "", "property": "keep", "input": {"p": "fn(x) -> true"}, "expected": []},
                {"uuid": "7", "description": "", "property": "run", "input": {"operations": []}, "expected": 1},
            ],
        },
    ],
}


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "archive"])
def test_exercism(tmp_path: Path, packed: bool) -> None:
    files = {"description.md": "# Description\n\nSay _it_.\n", "canonical-data.json": json.dumps(CANONICAL)}
    path = tmp_path / "specifications"
    (path / "exercises" / "say-it").mkdir(parents=True)
    for name, text in files.items():
        (path / "exercises" / "say-it" / name).write_text(text)
    (path / "exercises" / "old").mkdir()
    (path / "exercises" / "old" / "description.md").write_text("x")
    if packed:
        with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as archive:
            archive.add(path, "specifications")
        path = tmp_path / "s.tar.gz"
    found = {each.task_id: each for each in _found(path)}
    assert {name: each.reason for name, each in found.items() if each.reason} == {
        "Exercism/old": "no tests",
        "Exercism/say-it/keep": "a function as an argument",
        "Exercism/say-it/run": "operations on an object",
    }
    (problem,) = found["Exercism/say-it/say_it"].readings
    assert problem.prompt == (
        'def say_it(max_depth: int, list_: list[int] | None = None) -> str:\n    """\n    Say _it_.\n\n'
        "    Raises ValueError where the input is not valid.\n\n    >>> say_it(max_depth=1, list_=[1])\n    'a'\n"
        '    """\n'
    )
    assert problem.canonical_solution == "" and problem.licence == "MIT"
    assert [example.get("raises") for example in problem.io_examples] == [None, "ValueError"]
    (rounded,) = found["Exercism/say-it/sum"].readings
    assert rounded.entry_point == "say_it_sum"
    assert 0.005 < rounded.io_examples[0]["tolerance"] < 0.0051


@pytest.mark.parametrize(
    "names",
    [("1.in", "1.out"), ("tests/1.in", "tests/1.ans"), ("input/1.txt", "output/1.txt"), ("input1.txt", "output1.txt")],
    ids=["in and out", "ans", "folders", "prefixes"],
)
def test_folders_of_scripts(tmp_path: Path, names: tuple[str, str]) -> None:
    folder = tmp_path / "set" / "sum"
    for name, text in zip(("statement.md", "solution.py", *names), ("Add.", SUMMING, "1 2\n", "3\n"), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (found,) = _found(tmp_path / "set")
    assert found.task_id == "sum" and found.readings[0].source == "set"
    assert found.readings[0].stdio_examples == ({"input": "1 2\n", "output": "3\n"},)


STARTER = "def double(x: int) -> int:"


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({**APPS_SCRIPT, "solutions": ""}, '"""\nAdd.\n'),
        ({**APPS_SCRIPT, "solutions": json.dumps([PYTHON2])}, '"""\nAdd.\n'),
        ({**APPS_FUNCTION, "solutions": "", "starter_code": STARTER}, STARTER),
        ({**APPS_FUNCTION, "solutions": ""}, "def double(arg1: int) -> int:\n"),
        ({**LEETCODE, "solution": ""}, "from typing import List\n\n\ndef twoSum(nums: List[int], target: int)"),
    ],
    ids=["none", "python 2", "starter code", "calls", "class"],
)
def test_problems_without_a_solution_have_no_reference(tmp_path: Path, row: dict[str, Any], prompt: str) -> None:
    (found,) = _found(_write(tmp_path / "p.jsonl", row))
    (problem,) = found.readings
    assert problem.prompt.startswith(prompt) and problem.canonical_solution == problem.body == ""
    assert problem.has_tests


@pytest.mark.parametrize(
    ("row", "stage", "reason"),
    [
        ({**APPS_SCRIPT, "question": "Add.", "input_output": ""}, "tested", "no tests"),
        ({**APPS_FUNCTION, "solutions": json.dumps(["x = 1"])}, "referenced", "no solution can be cut"),
        ({**CODE_CONTESTS, "input_file": "in.txt"}, "usable", "reads or writes files"),
        ({**APPS_SCRIPT, "input_output": '{"inputs": [1], "outputs": []}'}, "usable", "faulty"),
        ({**APPS_SCRIPT, "question": 3}, "usable", "faulty"),
        ({"a": 1}, "usable", "faulty"),
    ],
    ids=range(6),
)
def test_what_cannot_be_used_is_named(tmp_path: Path, row: dict[str, Any], stage: str, reason: str) -> None:
    found = _found(_write(tmp_path / "p.jsonl", row, APPS_FUNCTION))
    assert [each.reason for each in found] == [reason, ""]
    assert found[0].stage == stage
    if reason == "faulty":
        assert "p.jsonl:1" in found[0].detail


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("p.jsonl", b'{"a": 1}\n', r"p\.jsonl:1: got \['a'\]; a problem's fields are"),
        ("p.jsonl", b"{", r"p\.jsonl:1: got '\{'; not valid JSON"),
        ("p.parquet", b"PAR1 no", r"p\.parquet:1: not readable as Parquet"),
        ("p.tar.gz", b"no", r"p\.tar\.gz: not readable as a tar archive"),
        ("folder/x.txt", b"no", r"folder: has no problems"),
        ("folder/canonical-data.json", b"{}", r"canonical-data\.json: cases: got \{\}; must be a list"),
    ],
    ids=["row", "json", "parquet", "tar", "folder", "exercism"],
)
def test_files_of_no_known_form_are_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as raised:
        _found(tmp_path / Path(name).parts[0])
    assert "\n" not in str(raised.value)


def test_a_torn_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("e/x/canonical-data.json")
        info.size = 100_000
        archive.addfile(info, io.BytesIO(bytes(range(250)) * 400))
    (tmp_path / "p.tar.gz").write_bytes(buffer.getvalue()[:-60])
    with pytest.raises(InputError, match="not readable as a tar archive"):
        _found(tmp_path / "p.tar.gz")
