"""Every engine of every Python that is here writes the records that the plain one, sys.setprofile, writes."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.problems.tracing.tracer import engines_here

_ROOT = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_name("traced_calls.py")
_ENGINES = {"3.11": ["evaluator", "profiler"], "3.12": ["monitoring"], "3.13": ["monitoring"]}


def _python(version: str) -> str:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python"))
    found = str(pyenv[-1]) if pyenv else shutil.which(f"python{version}")
    return found or pytest.skip(f"no python{version} here")


@functools.cache
def _records(python: str, engine: str, directory: Path) -> list[Any]:
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    command = [python, "-B", str(_SCRIPT), engine, str(directory / engine)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    records: list[Any] = json.loads(run.stdout)
    return records


@pytest.mark.parametrize("version", _ENGINES)
def test_engines_agree(version: str, tmp_path: Path) -> None:
    python = _python(version)
    plain = _records(python, "setprofile", tmp_path)
    for engine in _ENGINES[version]:
        if python == sys.executable and engine not in engines_here():
            pytest.skip(f"the engine {engine} is not built here")
        assert _records(python, engine, tmp_path) == plain


def test_the_plain_engine_records_what_happened(tmp_path: Path) -> None:
    *records, calls = _records(sys.executable, "setprofile", tmp_path)
    kinds = {each["name"]: each["function_kind"] for each in records if each["kind"] == "function"}
    assert kinds == {
        **dict.fromkeys(("early", "plain", "factorial", "makes", "opaque", "changes", "fails", "catches"), "function"),
        **dict.fromkeys(("exact", "square", "late", "threaded"), "function"),
        "makes.<locals>.inner": "nested", "sleeps": "coroutine",
        **dict.fromkeys(("count", "delegates", "two", "forgives", "ends_badly"), "generator"),
        **dict.fromkeys(("Thing.__init__", "Thing.bump", "Thing.items"), "method"), "Thing.alone": "staticmethod",
        "Thing.of": "classmethod", "Thing.double": "property", "Thing.half": "property",
    }  # fmt: skip
    assert [each["args"] for each in _of(records, "early")] == [[2]]
    assert [each["args"] for each in _of(records, "late")] == [[1], [3]]  # in a forked process, and after the resets
    assert [each["output"] for each in _of(records, "square")] == [number * number for number in range(10)]
    assert [each["output"] for each in _of(records, "threaded")] == [1, 2, 3]
    (changed,) = _of(records, "changes")
    assert changed["args"] == [[7], {"d": [["a", {"s": [2]}]]}]
    assert changed["changes"] == {"0": [7, 0], "1": {"d": [["a", {"s": [1, 2]}]]}}
    assert [each["iterator"] for each in _of(records, "count")] == [[0, 1, 2], [0, 1]]  # two are equal
    assert [each["iterator"] for each in _of(records, "delegates")] == [[0, 1]]
    assert _of(records, "two") == _of(records, "forgives") == _of(records, "sleeps") == []
    (bad,) = _of(records, "ends_badly")
    assert (bad["raises"], bad["message"]) == ("ValueError", "bad")
    assert [each.get("raises", each.get("output")) for each in _of(records, "fails")] == [None, "KeyError", "KeyError"]
    (bumped,) = _of(records, "Thing.bump")
    assert bumped["args"] == [{"O": ["lib", "Thing", [["v", 1]]]}, 2]
    assert bumped["changes"] == {"0": {"O": ["lib", "Thing", [["v", 3]]]}}
    (items,) = _of(records, "Thing.items")
    assert items["iterator"] == [3]
    assert [each["output"] for each in _of(records, "exact")] == [{"x": ["decimal.Decimal", ["0.75"]]}]
    assert [each["args"] for each in _of(records, "plain")] == [[1], [2, 3], [50]]
    assert {name.rpartition(":")[2]: number for name, number in calls.items()}["square"] == 10  # then it has enough


def _of(records: list[Any], name: str) -> list[Any]:
    return [each for each in records if each["kind"] == "sample" and each["function"].endswith(f":{name}")]
