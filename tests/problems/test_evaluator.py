"""What the frame evaluator of Python 3.11 does beyond what test_engines.py holds all engines to."""

from __future__ import annotations

import _thread
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_codex.problems.tracing import evaluator
from megatron_codex.problems.tracing.tracer import Tracer, engines_here
from tests.problems.traced_library import load_library

pytestmark = pytest.mark.skipif(not evaluator.IS_USABLE, reason="the evaluator is not built for this Python")

SOURCE = """
def deep(n):
    return deep(n + 1)

def fails(x):
    raise KeyError(x)

def plain(x):
    return x

class Box:
    def __init__(self, v):
        self.v = v
    def __getitem__(self, key):
        return self.v + key
    def __getattr__(self, name):
        raise AttributeError(name)

def held(*given, key=1, **more):
    got = yield lambda: (given, key, more)
    yield got
"""


@pytest.fixture
def lib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_library(tmp_path, monkeypatch, SOURCE)


def _samples(tmp_path: Path, work: Callable[[], Any]) -> list[dict[str, Any]]:
    tracer = Tracer(str(tmp_path / "project"), tmp_path / "trace", num_samples=10)
    tracer.start()
    try:
        work()
    finally:
        tracer.finish(exit_code=0)
    records = map(json.loads, (tmp_path / "trace").read_text().splitlines())
    return [each for each in records if each["kind"] == "sample"]


def test_it_is_the_fastest_one_here() -> None:
    assert engines_here()[0] == "evaluator"


def test_the_stack_does_not_overflow(tmp_path: Path, lib: ModuleType) -> None:
    faults = []

    def fall() -> None:
        with pytest.raises(RecursionError) as caught:
            lib.deep(0)
        faults.append(str(caught.value))

    def in_a_thread() -> None:
        before = threading.stack_size(1 << 20)
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)
        thread = threading.Thread(target=fall)
        thread.start()
        thread.join()
        sys.setrecursionlimit(limit)
        threading.stack_size(before)
        lib.plain(5)

    samples = _samples(tmp_path, in_a_thread)
    assert faults == ["maximum recursion depth exceeded: the tracer's stack is used up"]
    assert (samples[-1]["args"], samples[-1]["output"]) == ([5], 5)


def test_an_exception_that_c_code_swallows(tmp_path: Path, lib: ModuleType) -> None:
    samples = _samples(tmp_path, lambda: hasattr(lib.Box(1), "nothing"))
    assert ("AttributeError", "nothing") in [(each.get("raises"), each.get("message")) for each in samples]


def test_threads_without_the_module_threading(tmp_path: Path, lib: ModuleType) -> None:
    done = _thread.allocate_lock()
    done.acquire()

    def work() -> None:
        _thread.start_new_thread(lambda: (lib.plain(7), done.release()), ())
        assert done.acquire(timeout=10)

    assert [each["output"] for each in _samples(tmp_path, work)] == [7]


def test_calls_that_the_interpreter_would_make_without_us(tmp_path: Path, lib: ModuleType) -> None:
    def get(box: Any, number: int) -> list[int]:
        return [box[key] for key in range(number)]

    get(lib.Box(1), 100)  # from now on, the subscript is a specialised instruction
    samples = _samples(tmp_path, lambda: get(lib.Box(1), 9))
    assert [each["output"] for each in samples if each["function"].endswith("__getitem__")] == list(range(1, 10))


def test_arguments_of_a_generator_that_stand_in_cells(tmp_path: Path, lib: ModuleType) -> None:
    def work() -> None:
        held = lib.held(1, 2, key=3, other=4)
        assert next(held)() == ((1, 2), 3, {"other": 4})
        assert list(lib.held(5)) != []

    tracer = Tracer(str(tmp_path / "project"), tmp_path / "trace", num_samples=10)
    begun = []
    begin_call = tracer.recorder.begin_call
    tracer.recorder.begin_call = lambda samples, values: begun.append(values) or begin_call(samples, values)  # type: ignore[method-assign]
    tracer.start()
    work()
    tracer.finish(exit_code=0)
    assert begun == [(3, (1, 2), {"other": 4}), (1, (5,), {})]


def test_a_test_that_sets_profile_functions_changes_nothing(tmp_path: Path, lib: ModuleType) -> None:
    outer = sys.getprofile()

    def work() -> None:
        sys.setprofile(lambda *_: None)
        lib.plain(1)
        sys.setprofile(outer)
        lib.plain(2)
        with pytest.raises(KeyError):
            lib.fails(3)

    assert [each["args"] for each in _samples(tmp_path, work)] == [[1], [2], [3]]
