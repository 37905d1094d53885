"""Examples of problems that the judge could not run are refused where they are read, by key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.errors import InputError
from megatron_codex.problems.readers import read_problems
from megatron_codex.tagged import encode

CALL = {"args": [1], "kwargs": {}, "output": 2}
FLOATS = {"args": [], "kwargs": {}, "output": encode([1.5, 2.5])}
RAISES = {"args": [], "kwargs": {}, "raises": "ValueError"}
PAIR = {"input": "1", "output": "2"}
PROBLEM = {"task_id": "t", "prompt": "p\n", "entry_point": "f", "canonical_solution": "", "test": ""}


def _read(folder: Path, **fields: Any) -> None:
    path = folder / "p.jsonl"
    path.write_text(json.dumps({**PROBLEM, **fields}) + "\n")
    read_problems(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"io_examples": [CALL, {**FLOATS, "tolerance": 1e-6, "relative_tolerance": 0, "unordered": True}]},
        {"io_examples": [{**CALL, "output": [[1], {"s": []}], "unordered": True}, {**RAISES, "message": "no"}]},
        {"stdio_examples": [PAIR, {**PAIR, "compare": "lines"}, {**PAIR, "compare": "tokens", "tolerance": 0}]},
        {"stdio_examples": [{"input": ""}, PAIR], "checker": "def check(i, e, a): return True", "entry_point": ""},
    ],
    ids=range(4),
)
def test_good_examples_are_read(fields: dict[str, Any], tmp_path: Path) -> None:
    _read(tmp_path, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"io_examples": [CALL, {**CALL, "tolerence": 1}]}, "io_examples[1]: tolerence: got 1; is no key"),
        ({"io_examples": [{**CALL, "tolerance": -1}]}, "io_examples[0]: tolerance: got -1; must be a number"),
        ({"io_examples": [{**CALL, "tolerance": "1e-6"}]}, "tolerance: got '1e-6'; must be a number"),
        ({"io_examples": [{**CALL, "tolerance": True}]}, "tolerance: got True; must be a number"),
        ({"io_examples": [{**CALL, "relative_tolerance": 0.1}]}, "relative_tolerance: got 0.1; needs a tolerance"),
        ({"io_examples": [{**CALL, "message": "m"}]}, "message: got 'm'; does not go with \"output\""),
        ({"io_examples": [{**RAISES, "tolerance": 0}]}, 'tolerance: got 0; does not go with "raises"'),
        ({"io_examples": [{**RAISES, "unordered": True}]}, 'unordered: got True; does not go with "raises"'),
        ({"io_examples": [{**RAISES, "message": 5}]}, "message: got 5; must be of type str"),
        ({"io_examples": [{**CALL, "unordered": 1}]}, "unordered: got 1; must be of type bool"),
        ({"io_examples": [{**CALL, "unordered": True}]}, "output: got 2; must be a list or tuple"),
        ({"io_examples": [{**CALL, "output": [1], "unordered": True, "tolerance": 0}]}, "one of floats"),
        ({"io_examples": [CALL], "entry_point": ""}, "entry_point: got ''; is empty"),
        ({"stdio_examples": [PAIR, {"input": "1"}]}, "stdio_examples[1]: output: is missing"),
        ({"stdio_examples": [{"output": "1"}]}, "stdio_examples[0]: input: is missing"),
        ({"stdio_examples": [{**PAIR, "input": 5}]}, "input: got 5; must be of type str"),
        ({"stdio_examples": ["1"]}, "stdio_examples[0]: got '1'; must be {"),
        ({"stdio_examples": [{**PAIR, "unordered": True}]}, "unordered: got True; is no key"),
        ({"stdio_examples": [{**PAIR, "compare": "words"}]}, "compare: got 'words'; must be one of lines, tokens"),
        ({"stdio_examples": [{**PAIR, "compare": "lines", "tolerance": 1}]}, "tolerance: got 1; compares tokens"),
        ({"stdio_examples": [{**PAIR, "output": "x" * (33 << 20)}]}, "output: got 'too long'; must be at most"),
        ({"stdio_examples": [{**PAIR, "tolerance": 1}], "checker": "c"}, "tolerance: got 1; is no key"),
        ({"test": "t", "checker": "c"}, "checker: is for stdio_examples"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_faulty_example_is_refused_by_key(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.jsonl:1: .*" + re.escape(message)):
        _read(tmp_path, **fields)
