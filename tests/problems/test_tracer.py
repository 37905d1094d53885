"""The tracer's parts, in this process and without a sandbox: the code it traces is this test's own."""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from megatron_codex.problems.tracing import forms
from megatron_codex.problems.tracing.builtin_calls import NoBuiltinError
from megatron_codex.problems.tracing.calls import call_arguments
from megatron_codex.problems.tracing.exceptions import describe_exception
from megatron_codex.problems.tracing.forms import check_size, defined_text_of, quick_text_of, text_of
from megatron_codex.problems.tracing.origins import Origins, is_test_file
from megatron_codex.problems.tracing.tracer import Tracer, engines_here
from megatron_codex.restorable_objects import encode_restorable
from megatron_codex.tagged import NotPlainData
from tests.problems.traced_library import load_library

Record = Callable[[Callable[[], Any]], list[dict[str, Any]]]

SOURCE = """
import functools, threading

def plain(x, y=1):
    return x + y

def changes(items):
    items.append(0)
    return len(items)

def fails(x):
    if x:
        raise KeyError(x)

def catches(x):
    try:
        fails(x)
    except KeyError:
        return "caught"

@functools.lru_cache
def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)

def deep(n):
    return deep(n + 1)

def state(calls=[]):
    return len(calls)

def in_thread(x):
    return x * 2

def opaque(x):
    return object()

class Thing:
    def method(self): ...

def generator():
    yield 1
"""


@pytest.fixture
def lib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_library(tmp_path, monkeypatch, SOURCE)


@pytest.fixture(params=engines_here())
def tracer(tmp_path: Path, lib: ModuleType, request: pytest.FixtureRequest) -> Iterator[Tracer]:
    outer = sys.getprofile()
    yield Tracer(str(tmp_path / "project"), tmp_path / "trace.jsonl", num_samples=10, engine=request.param)
    threading.setprofile(None)
    sys.setprofile(outer)


@pytest.fixture
def record(tmp_path: Path, tracer: Tracer) -> Record:
    def run(work: Callable[[], Any]) -> list[dict[str, Any]]:
        tracer.start()
        work()
        tracer.finish(exit_code=0)
        return [json.loads(line) for line in (tmp_path / "trace.jsonl").read_text().splitlines()]

    return run


def _samples(records: list[dict[str, Any]], name: str) -> list[tuple[Any, ...]]:
    rows = [each for each in records if each["kind"] == "sample" and each["function"].endswith(f":{name}")]
    return [(each["args"], each["kwargs"], each.get("output", each.get("raises"))) for each in rows]


def test_calls_and_results(record: Record, lib: ModuleType) -> None:
    records = record(lambda: (lib.plain(1), lib.plain(2, y=3), lib.plain(1)))
    assert _samples(records, "plain") == [([1], {}, 2), ([2, 3], {}, 5)]
    assert records[-1]["calls"] == {"project:lib.py:4:plain": 3}
    assert records[0]["engine"] in engines_here()
    assert records[1] == {
        "kind": "function", "function": "project:lib.py:4:plain", "origin": "project", "file": "lib.py",
        "name": "plain", "line": 4, "function_kind": "function", "is_generator": False,
    }  # fmt: skip


def test_arguments_are_taken_before_they_change(record: Record, lib: ModuleType) -> None:
    items = [7]
    assert _samples(record(lambda: lib.changes(items)), "changes") == [([[7]], {}, 2)]
    assert items == [7, 0]


def test_exceptions_are_told_from_none(record: Record, lib: ModuleType) -> None:
    def work() -> None:
        lib.fails(0)
        with pytest.raises(KeyError):
            lib.fails(1)
        lib.catches(2)

    records = record(work)
    assert _samples(records, "fails") == [([0], {}, None), ([1], {}, "KeyError"), ([2], {}, "KeyError")]
    assert [("raises" in each, "output" in each) for each in records if each["kind"] == "sample"][:2] == [
        (False, True),
        (True, False),
    ]
    assert _samples(records, "catches") == [([2], {}, "caught")]
    assert sys.gettrace() is None


def test_recursion(record: Record, lib: ModuleType) -> None:
    records = record(lambda: lib.factorial(4))
    assert sorted(_samples(records, "factorial")) == [([1], {}, 1), ([2], {}, 2), ([3], {}, 6), ([4], {}, 24)]


def test_it_goes_on_after_a_recursion_error(record: Record, tracer: Tracer, lib: ModuleType) -> None:
    def work() -> None:
        tracer.resume()
        with pytest.raises(RecursionError):
            lib.deep(0)
        tracer.resume()
        lib.plain(1)

    records = record(work)
    assert _samples(records, "plain") == [([1], {}, 2)]
    assert records[0]["engine"] != "setprofile" or records[-1]["resumed"] == 1
    assert sys.gettrace() is None


def test_contradictions_are_recorded(record: Record, lib: ModuleType) -> None:
    def work() -> None:
        lib.state()
        lib.state.__defaults__[0].append(1)
        lib.state()

    assert _samples(record(work), "state") == [([], {}, 0), ([], {}, 1)]


def test_other_threads_are_traced(record: Record, lib: ModuleType) -> None:
    def work() -> None:
        thread = threading.Thread(target=lib.in_thread, args=(4,))
        thread.start()
        thread.join()

    assert _samples(record(work), "in_thread") == [([4], {}, 8)]


def test_it_stops_looking_after_enough_samples(record: Record, lib: ModuleType) -> None:
    records = record(lambda: [lib.plain(number) for number in range(19)])
    assert len(_samples(records, "plain")) == 10
    assert records[-1]["calls"] == {"project:lib.py:4:plain": 10}


def test_what_is_refused_is_said_once(record: Record, lib: ModuleType) -> None:
    def work() -> None:
        lib.opaque(1)
        lib.opaque(2)
        lib.opaque(object())
        lib.Thing().method()
        list(lib.generator())

    records = record(work)
    kinds = {each["name"]: each["function_kind"] for each in records if each["kind"] == "function"}
    assert kinds == {"opaque": "function", "Thing.method": "method", "generator": "generator"}
    not_plain = [(each["where"], each["type"]) for each in records if each["kind"] == "not_plain"]
    assert not_plain == [("result", "object"), ("arguments", "object")]


@pytest.mark.parametrize("file", ["project_beside/lib.py", "<string>", "project/tests/lib.py"])
def test_code_outside_the_library_is_not_looked_at(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(tmp_path / "project")
    scope: dict[str, Any] = {}
    exec(compile("def f():\n    return 1\n", file if file == "<string>" else str(tmp_path / file), "exec"), scope)
    assert [each["kind"] for each in record(scope["f"])] == ["start", "end"]


def test_libraries_are_recorded_where_asked(tmp_path: Path, lib: ModuleType) -> None:
    import colorsys

    found = {}
    for libraries in ((), ("stdlib",)):
        tracer = Tracer(str(tmp_path / "project"), tmp_path / str(len(libraries)), num_samples=5, libraries=libraries)
        outer = sys.getprofile()
        tracer.start()
        colorsys.rgb_to_yiq(1.0, 1.0, 1.0)
        lib.plain(1)
        tracer.finish(exit_code=0)
        sys.setprofile(outer)
        lines = (tmp_path / str(len(libraries))).read_text().splitlines()
        functions = [each for each in map(json.loads, lines) if each["kind"] == "function"]
        found[libraries] = [(each["origin"], each["file"], each["name"]) for each in functions]
    assert found[()] == [("project", "lib.py", "plain")]
    assert set(found["stdlib",]) >= {("project", "lib.py", "plain"), ("stdlib", "colorsys.py", "rgb_to_yiq")}


def test_a_file_of_a_distribution_has_its_name_and_version(tmp_path: Path) -> None:
    from importlib.metadata import version

    import yaml

    for libraries, expected in ((("dependencies",), (f"PyYAML {version('pyyaml')}", "yaml/__init__.py")), ((), None)):
        assert Origins(str(tmp_path), libraries).of_file(yaml.__file__) == expected
        assert Origins(str(tmp_path), libraries).of_file(pytest.__file__) is None  # what runs the tests


def test_builtins_are_recorded_by_wrappers(tmp_path: Path) -> None:
    import math

    tracer = Tracer(str(tmp_path), tmp_path / "out", num_samples=5, builtins=["math.gcd", "math.sqrt"])
    original, outer = math.gcd, sys.getprofile()
    tracer.start()
    assert math.gcd(4, 6) == 2
    with pytest.raises(ValueError):
        math.sqrt(-1)
    tracer.finish(exit_code=0)
    sys.setprofile(outer)
    assert math.gcd is original
    records = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert _samples(records, "math.gcd") == [([4, 6], {}, 2)]
    assert _samples(records, "math.sqrt") == [([-1], {}, "ValueError")]
    assert {each["function_kind"] for each in records if each["kind"] == "function"} == {"builtin"}


@pytest.mark.parametrize("name", ["math.nothing", "no_such_module.f", "math.pi", "gcd"])
def test_what_is_no_builtin_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NoBuiltinError, match=name):
        Tracer(str(tmp_path), tmp_path / "out", num_samples=5, builtins=[name])


class Told(Exception):
    def __str__(self) -> str:
        raise BaseException("the project's code ran")


class Shown:
    __repr__ = __str__ = Told.__str__


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("k"), {"raises": "KeyError", "message": "'k'"}),
        (ValueError("x" * 600), {"raises": "ValueError", "message": "x" * 500}),
        (OSError(2, "No such file", "a"), {"raises": "FileNotFoundError", "message": "[Errno 2] No such file: 'a'"}),
        (OSError(2, "No such file", Shown()), {"raises": "FileNotFoundError"}),
        (ValueError(Shown()), {"raises": "ValueError"}),
        (Told("x"), {"raises": "Told"}),
    ],
    ids=lambda value: value["raises"] if isinstance(value, dict) else "",
)
def test_exceptions_are_described_without_their_own_code(error: BaseException, expected: dict[str, str]) -> None:
    assert describe_exception(error) == expected


def _make(source: str) -> Any:
    scope: dict[str, Any] = {"MARK": object()}
    exec(source, scope)
    return scope["f"]


@pytest.mark.parametrize(
    ("header", "values", "expected"),
    [
        ("a, b=2, c=3", {"a": 1, "b": 2, "c": 3}, ([1], {})),
        ("a, b=2, c=3", {"a": 1, "b": 9, "c": 3}, ([1, 9], {})),
        ("a, b=2, c=3", {"a": 1, "b": 2, "c": 9}, ([1], {"c": 9})),
        ("a, b=2, c=3, /", {"a": 1, "b": 2, "c": 9}, ([1, 2, 9], {})),
        ("a, b=2, /, c=3", {"a": 1, "b": 2, "c": 9}, ([1], {"c": 9})),
        ("a, b=2, *rest", {"a": 1, "b": 2, "rest": (7,)}, ([1, 2, 7], {})),
        ("a, b=2, *rest", {"a": 1, "b": 2, "rest": ()}, ([1], {})),
        ("*, k=1, m", {"k": 1, "m": 2}, ([], {"m": 2})),
        ("a, *, k=1, **more", {"a": 1, "k": 5, "more": {"z": 3}}, ([1], {"k": 5, "z": 3})),
    ],
)
def test_defaults_are_left_out(header: str, values: dict[str, Any], expected: Any) -> None:
    function = _make(f"def f({header}): pass")
    args, kwargs = call_arguments(function.__code__, list(values.values()), function)
    assert (args, kwargs) == expected


def test_without_the_function_all_arguments_are_given() -> None:
    function = _make("def f(a, b=2, *, k=MARK): pass")
    assert call_arguments(function.__code__, [1, 2, 3], None) == ([1, 2], {"k": 3})


class Text(str):
    pass


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (Text("x"), "Text"),
        ([{"a": (1, {sys})}], "module"),
        (OrderedDict({1: "x" * 2001}), "too long"),
        ({Text("k"): 1}, "Text"),
        ("x" * 2001, "too long"),
        (["x" * 1500, b"y" * 600], "too long"),
        ([[0] * 150, [0] * 60], "too many"),
        (1 << 2000, "too large"),
        (functools.reduce(lambda inner, _: [inner], range(20), 1), "too deep"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_not_plain(value: Any, fault: str) -> None:
    with pytest.raises(NotPlainData, match=fault):
        check_size(value)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a


class Both(Slotted):
    def __init__(self, a: Any, **fields: Any) -> None:
        super().__init__(a)
        self.__dict__.update(fields)


class Fielded:
    def __init__(self) -> None:
        self.one, self.two = 1, [self.__class__.__name__]


class Again(Slotted):
    __slots__ = ("a",)


class Lists(list[int]):
    pass


FORMS = (
    None, True, 1.5, float("nan"), 2j, range(9), 1 << 52, 1 << 53, 1 << 1024, "x" * 2000, "x" * 2001,
    "\x00\n\"\ud800é😀", b"x", ["x" * 1000] * 3, list(range(199)), list(range(200)), tuple(range(200)),
    {3, 1, 10, "a"}, frozenset({2}), frozenset(), {1 << 60, 2}, {None}, {(1, 2), (0, 1)}, {"'", '"', "é", "x", "\n"},
    {Slotted}, [threading.Lock()], ["x" * 2001, threading.Lock()], [threading.Lock(), "x" * 2001],
    {n: n for n in range(99)}, {n: n for n in range(100)}, [[[[[[[[1]]]]]]]], [[[[[[[[[1]]]]]]]]],
    {"a": [{"b": ({"c"},)}], 2: None}, Slotted(1), [Slotted([Slotted("x")])], Both(1), Both(1, c=2), Again(1), Lists(),
    Record, sys, len, Path, OrderedDict(a=1), Told("x"), functools.reduce(lambda inner, _: Slotted(inner), range(9), 1),
)  # fmt: skip


@pytest.mark.skipif(quick_text_of is None, reason="the tracer's extension is not built here")
@pytest.mark.parametrize("number", range(len(FORMS)))
def test_the_text_in_c_is_the_one_in_python(number: int) -> None:
    texts = []
    for function in (text_of, text_of, defined_text_of):
        try:
            texts.append(function(FORMS[number]))
        except NotPlainData as error:
            texts.append(f"refused: {error}")
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.skipif(quick_text_of is None, reason="the tracer's extension is not built here")
def test_common_values_never_come_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "defined_text_of", None)
    for value in (None, False, -3, "é", 0.5, [1, (2, {"a": []})], Slotted(1), [Fielded()]):
        assert json.loads(text_of(value)) == encode_restorable(value)


def test_cycles_are_not_plain() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(NotPlainData):
        check_size(cycle)


@pytest.mark.parametrize("value", [None, (1, [2.5, {"a": {1, 2}}]), frozenset({b"x"}), range(3), "x" * 2000])
def test_plain(value: Any) -> None:
    assert check_size(value) is value


@pytest.mark.parametrize(
    ("file", "is_test"),
    [
        ("lib/words.py", False),
        ("test_words.py", True),
        ("lib/tests/x.py", True),
        ("lib/words_test.py", True),
        ("conftest.py", True),
        ("setup.py", True),
        ("docs/conf.py", True),
        ("lib/testing_tools.py", False),
    ],
)
def test_which_files_are_tests(file: str, is_test: bool) -> None:
    assert is_test_file(file) == is_test
