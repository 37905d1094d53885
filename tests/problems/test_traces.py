"""Reading what the tracer wrote: data of unknown origin."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.problems.project import BrokenProjectError
from megatron_codex.problems.traces import Trace, read_trace
from megatron_codex.problems.tracing.suites import run_unittest
from megatron_codex.records import Verdict
from megatron_codex.sandbox.project_run import ProjectRun

START = {"kind": "start", "seal": hashlib.sha256(b"token").hexdigest(), "engine": "profiler", "python": "3.11.7"}
FUNCTION = {
    "kind": "function", "function": "a:1:f", "origin": "project", "file": "a", "name": "f", "line": 1,
    "function_kind": "function", "is_generator": False,
}  # fmt: skip
SAMPLE = {"kind": "sample", "function": "a:1:f", "call": 1, "args": [1], "kwargs": {}, "output": 2}
SUITE = {"exit_code": 0, "passed": 1, "failed": 0, "errors": 0, "skipped": 0, "resumed": 0}
END = {"kind": "end", "token": "token", **SUITE, "calls": {"a:1:f": 5}}


def _read(tmp_path: Path, records: list[Any], *, verdict: Any = "passed", stdout: bytes = b"", code: int = 0) -> Trace:
    records = [START, *records] if START not in records else records
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    (tmp_path / "trace.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    said = Verdict(verdict=verdict, detail="why", cpu_s=0, wall_s=0, isolation="A")
    return read_trace(tmp_path / "trace.jsonl", ProjectRun(exit_code=code, stdout=stdout, verdict=said))


def test_a_whole_trace(tmp_path: Path) -> None:
    other = {**SAMPLE, "args": [], "kwargs": {"x": 1}, "call": 2}
    raising = {key: value for key, value in {**SAMPLE, "args": [0], "raises": "KeyError"}.items() if key != "output"}
    trace = _read(tmp_path, [FUNCTION, SAMPLE, SAMPLE, other, raising, END])
    (function,) = trace.functions
    assert function.num_calls == 5
    assert function.examples == [
        {"args": [1], "kwargs": {}, "output": 2},
        {"args": [], "kwargs": {"x": 1}, "output": 2},
        {"args": [0], "kwargs": {}, "raises": "KeyError"},
    ]
    assert not function.contradicts_itself
    assert trace.suite == SUITE
    assert trace.num_malformed_records == 0


def test_contradictions_are_noticed(tmp_path: Path) -> None:
    (function,) = _read(tmp_path, [FUNCTION, SAMPLE, {**SAMPLE, "output": 3}, END]).functions
    assert function.contradicts_itself


@pytest.mark.parametrize(
    "record",
    [
        b"\xff", b"[]", b"1", b'{"kind": "sample"', b"[" * 100_000,
        {"kind": "other"},
        {**SAMPLE, "function": "unknown"},
        {**SAMPLE, "function": []},
        {**SAMPLE, "args": 3},
        {**SAMPLE, "args": [{"x": 1}]},
        {**SAMPLE, "output": {"p": "pickle"}},
        {**SAMPLE, "kwargs": [1]},
        {**SAMPLE, "call": -1},
        {**FUNCTION, "line": "1"},
        {**FUNCTION, "file": None},
        {**FUNCTION, "function_kind": "other"},
        {**FUNCTION, "is_generator": 1},
        {**SAMPLE, "iterator": [1]},
        {**SAMPLE, "changes": [1]},
        {**SAMPLE, "changes": {"0": {"q": 1}}},
        {**SAMPLE, "message": 1},
        {**END, "passed": True},
    ],
    ids=lambda record: str(record)[:60],
)  # fmt: skip
def test_malformed_records_are_counted_and_left_out(tmp_path: Path, record: Any) -> None:
    trace = _read(tmp_path, [FUNCTION, SAMPLE, record, END])
    assert trace.num_malformed_records == 1
    assert len(trace.functions[0].examples) == 1


@pytest.mark.parametrize(
    ("records", "settings", "reason", "detail"),
    [
        ([FUNCTION, END], {"verdict": "timeout"}, "timeout", "why"),
        ([END], {"verdict": "died"}, "out of memory", "why"),
        ([END], {"verdict": "infra"}, "sandbox failed", "why"),
        ([FUNCTION, SAMPLE], {"code": 3, "stdout": b"x\nlast \n\n"}, "tests end early", "exit code 3; last line: last"),
        ([], {}, "tests end early", "exit code 0; last line: nothing printed"),
        ([FUNCTION], {"code": 137}, "runner killed", "exit code 137; last line: nothing printed"),
        ([FUNCTION, START, END], {}, "records lost", "the first record is not there"),
        ([START, START, END], {}, "records forged", "there is a second beginning"),
        ([{**END, "token": "other"}], {}, "records forged", "there is an end that the tracer did not write"),
        ([END, END], {}, "records forged", "there is an end that the tracer did not write"),
        ([b"x"] * 10_001, {}, "records forged", "more than 10000 that are malformed"),
        ([{**END, "passed": 0}], {"stdout": b"E No module named 'a.b'\n"}, "no test passes", "modules missing: a.b"),
    ],
)
def test_suites_that_do_not_work(tmp_path: Path, records: list[Any], settings: Any, reason: str, detail: str) -> None:
    with pytest.raises(BrokenProjectError) as raised:
        _read(tmp_path, records, **settings)
    assert (raised.value.reason, raised.value.detail) == (reason, detail)


def test_the_runner_for_where_there_is_no_pytest(tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "test_suite_of_unittest.py").write_text(
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n"
        "    def test_b(self): self.fail()\n    @unittest.skip('x')\n    def test_c(self): pass\n"
    )
    (tmp_path / "test_loose_unittest.py").write_text(
        "import unittest\nclass U(unittest.TestCase):\n    def test_d(self): raise KeyError\n"
    )
    started: list[int] = []
    paths = [str(tmp_path / "suite"), str(tmp_path / "test_loose_unittest.py")]
    result = run_unittest(paths, lambda: started.append(1))
    assert result == {"exit_code": 1, "passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert len(started) == 4
