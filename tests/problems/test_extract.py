"""Functions of every kind taken out of a project: what a Problem gets of them, or why they are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatron_codex.problems.assertions import check_source
from megatron_codex.problems.context import ContextLimits, NotExtractedError
from megatron_codex.problems.extract import ExtractedFunction, extract_function
from megatron_codex.problems.modules import ProjectModules
from megatron_codex.problems.traces import TracedFunction

_SOURCE = '''
import functools
from enum import Enum
from dataclasses import dataclass
def twice(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args) * 2
    return wrapper
class Base:
    unit = 1
@dataclass
class Box(Base):
    # a comment
    """Holds things."""
    width: int = 0
    other = 3

    def __len__(self):
        return self._half() * 2

    def _half(self):
        return self.width // 2
    def unused(self):
        return undefined

    @twice
    def grow(self, by):
        """Make it wider."""
        # grow
        self.width += by
        return len(self) + self.unit

    def short(self): return self.width
    @classmethod
    def of(cls, width):
        return cls(width)

    @staticmethod
    def area(a, b):
        return a * b

    @property
    def size(self):
        return 1

    def aliased(self):
        return 2
class Alias:
    def m(self):
        return 1
    n = m
class Joined:
    x = 1; y = 2
    def m(self):
        return 1
class Outer:
    class Inner:
        def m(self):
            return 1
@twice
def decorated(x):
    return [x]
try:
    import missing
except ImportError:
    def conditional(x):
        """Say it."""
        return x + 1
if True:
    def margin(x):
        return """
        text"""
    class Conditional:
        def m(self):
            return 1
def generator(n):
    yield from range(n)
def inner_generator(n):
    return list(i for i in range(n))
async def coroutine(n):
    return n
def outer():
    def nested(n):
        return n
    return nested
def takes_level(level):
    return level.value
class Level(Enum):
    LOW = 1
'''
_BOX = {"O": ["m", "Box", [["width", 4]]]}


@pytest.fixture
def extract(tmp_path: Path) -> Any:
    (tmp_path / "m.py").write_text(_SOURCE)
    (tmp_path / "test_m.py").write_text("from m import Box\ndef helper(x):\n    return x\nUNUSED = 1\n")
    modules = ProjectModules(tmp_path, (".",))

    def run(definition: str, *examples: dict[str, Any]) -> ExtractedFunction:
        lines = _SOURCE.split("\n")
        name = definition.split("(")[0].split()[-1]
        line = next(number for number, text in enumerate(lines, 1) if text.strip().startswith(definition))
        while lines[line - 2].strip().startswith("@"):
            line -= 1
        plain = {"args": [4], "kwargs": {}, "output": 5}
        traced = TracedFunction(file="m.py", qualname=name, line=line, examples=list(examples) or [plain])
        return extract_function(traced, modules, ContextLimits(max_lines=60), max_body_lines=20)

    return run


def _check(function: ExtractedFunction, test: str = "") -> None:
    """Run the program and, if it has one, its test, as the judge does."""
    names: dict[str, Any] = {"__name__": "solution"}
    exec(compile(function.source, "solution", "exec", dont_inherit=True), names)
    candidate: Any = names[function.entry_point.split(".")[0]]
    for attribute in function.entry_point.split(".")[1:]:
        candidate = getattr(candidate, attribute)
    exec(function.test_context + (test or check_source(function.examples)), names)
    names["check"](candidate)


def test_a_method_comes_last_in_its_class_with_what_it_needs_of_it(extract: Any) -> None:
    call = {"args": [_BOX, 2], "kwargs": {}, "output": 14, "changes": {"0": {"O": ["m", "Box", [["width", 6]]]}}}
    function = extract("def grow", call)
    assert (function.entry_point, function.kind) == ("Box.grow", "method")
    assert function.prompt.endswith(
        "\n\n\n"
        '@dataclass\nclass Box(Base):\n    # a comment\n    """Holds things."""\n    width: int = 0\n    other = 3\n\n'
        "    def __len__(self):\n        return self._half() * 2\n\n"
        "    def _half(self):\n        return self.width // 2\n\n"
        '    @twice\n    def grow(self, by):\n        """Make it wider."""\n'
    )
    assert "\n\n\nclass Base:\n    unit = 1\n\n\n" in function.prompt
    assert function.parts.body == "        # grow\n        self.width += by\n        return len(self) + self.unit\n"
    _check(function)
    with pytest.raises(AssertionError):
        _check(extract("def grow", {**call, "changes": {"0": {"O": ["m", "Box", [["width", 5]]]}}}))


def test_class_and_static_methods_are_called_without_an_object(extract: Any) -> None:
    made = {"args": [{"m": ["m", "Box"]}, 3], "kwargs": {}, "output": {"O": ["m", "Box", [["width", 3]]]}}
    function = extract("def of", made)
    assert (function.entry_point, function.kind) == ("Box.of", "classmethod")
    assert function.examples[0]["args"] == [3]
    _check(function)
    function = extract("def area", {"args": [2, 3], "kwargs": {}, "output": 6})
    assert (function.entry_point, function.kind) == ("Box.area", "staticmethod")
    _check(function)


def test_a_body_on_the_line_of_its_def_gets_its_margin(extract: Any) -> None:
    function = extract("def short", {"args": [_BOX], "kwargs": {}, "output": 4})
    assert function.parts.signature == "    def short(self):\n"
    assert function.parts.body == "        return self.width\n"
    _check(function)


def test_decorators_come_with_their_helpers(extract: Any) -> None:
    function = extract("def decorated", {"args": [1], "kwargs": {}, "output": [1, 1]})
    assert function.parts.signature == "@twice\ndef decorated(x):\n"
    assert "def twice(function):" in function.context
    _check(function)


def test_a_function_under_a_condition_is_moved_to_the_left(extract: Any) -> None:
    function = extract("def conditional")
    assert function.prompt == 'def conditional(x):\n    """Say it."""\n'
    _check(function)


def test_generators_are_told_from_functions_with_a_generator_expression(extract: Any) -> None:
    function = extract("def generator", {"args": [2], "kwargs": {}, "iterator": [0, 1]})
    assert function.kind == "generator"
    _check(function)
    assert extract("def inner_generator").kind == "function"


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ("async def coroutine", "async"),
        ("def nested", "nested"),
        ("def size", "layout"),
        ("def margin", "layout"),
        ("def of", "called on no plain object of its class"),
        ("def grow", "called on no plain object of its class"),
    ],
)
def test_what_is_not_taken(extract: Any, definition: str, reason: str) -> None:
    with pytest.raises(NotExtractedError) as raised:
        extract(definition)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("owner", "reason"),
    [("Alias", "layout"), ("Joined", "layout"), ("Outer", "class inside another"), ("Conditional", "class under")],
)
def test_classes_that_cannot_be_cut(extract: Any, tmp_path: Path, owner: str, reason: str) -> None:
    lines = _SOURCE.split("\n")
    start = next(number for number, text in enumerate(lines) if text.strip() == f"class {owner}:")
    line = next(number for number in range(start, len(lines)) if lines[number].strip() == "def m(self):") + 1
    example = {"args": [{"O": ["m", owner, []]}], "kwargs": {}, "output": 1}
    traced = TracedFunction(file="m.py", qualname="m", line=line, examples=[example])
    with pytest.raises(NotExtractedError, match=reason):
        extract_function(traced, ProjectModules(tmp_path, (".",)), ContextLimits(max_lines=60), max_body_lines=20)


def test_classes_that_the_examples_name_come_along(extract: Any) -> None:
    good = {"args": [{"E": ["m", "Level", "LOW"]}], "kwargs": {}, "output": 1}
    lost = {"args": [{"E": ["gone", "Level", "LOW"]}], "kwargs": {}, "output": 1}
    function = extract("def takes_level", good, lost, good)
    assert "class Level(Enum):\n    LOW = 1\n" in function.context
    assert function.examples == [good, good]
    with pytest.raises(NotExtractedError, match="cannot be brought along"):
        extract("def takes_level", good, lost)
    _check(function)


def test_functions_of_the_projects_tests_are_defined_by_the_problems_tests(extract: Any) -> None:
    example = {"args": [{"m": ["test_m", "helper"]}], "kwargs": {}, "output": [{"m": ["test_m", "helper"]}] * 2}
    function = extract("def decorated", example)
    assert "helper" not in function.context
    assert function.test_context == "def helper(x):\n    return x\n\n\n"
    _check(function)


def test_a_directory_of_tests_need_not_be_on_the_path(extract: Any, tmp_path: Path) -> None:
    (tmp_path / "checks").mkdir()
    (tmp_path / "test_m.py").rename(tmp_path / "checks" / "test_m.py")
    example = {"args": [{"m": ["test_m", "helper"]}], "kwargs": {}, "output": [{"m": ["test_m", "helper"]}] * 2}
    assert extract("def decorated", example).test_context == "def helper(x):\n    return x\n\n\n"
    with pytest.raises(NotExtractedError, match="cannot be brought along"):
        extract("def decorated", {"args": [{"m": ["../test_m\0", "helper"]}], "kwargs": {}, "output": 1})
