"""Objects, functions and types that tests hand over and get back: right programs pass, none gains by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.border import Border, Message
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.used_names import given_classes, uses_reference
from megatron_codex.tagged import NotPlainData

JudgeOne = Callable[[Program], Verdict]

CLASSES = '''
import enum
from collections import namedtuple
from dataclasses import dataclass
from typing import ClassVar, NamedTuple
class Node:
    def __init__(self, data, left=None, right=None):
        self.data, self.left, self.right = data, left, right
class Slotted:
    __slots__ = ("a", "b")
    def __init__(self, a):
        self.a = a
@dataclass
class Pair:
    kind: "ClassVar[int]" = 2
    a: "int" = 0
    b: "int" = 0
class Point(NamedTuple):
    x: int
    y: int
Size = namedtuple("Size", "width height")
class Level(enum.IntEnum):
    LOW = 1
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
class Keyed:
    def same(self, other):
        return False
    def __eq__(self, other):
        return self.same(other)
class Counted:
    made = 0
    def __init__(self):
        Counted.made += 1
        self.items = []
    def __call__(self):
        return 7
def f(*args, **kwargs):
    """What is asked for."""
'''


def problem(body: str, checks: str) -> Program:
    lines = "".join(f"    {line}\n" for line in checks.strip().splitlines())
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return Program.of(
        Problem(
            task_id="t",
            prompt=CLASSES,
            entry_point="f",
            canonical_solution="    pass\n",
            test=f"def check(f):\n{lines}",
        ),
        indented,
    )


PASSING = {
    "objects_in": (
        "def depth(n): return 0 if n is None else 1 + max(depth(n.left), depth(n.right))\nreturn depth(args[0])",
        "assert f(Node(1, Node(2, Node(3)))) == 3 and f([1, {2: Node(1)}][1][2]) == 1",
    ),
    "methods_and_constructors_are_not_run_by_crossing": (
        "return args[0].made",
        "c = Counted()\nassert Counted.made == 1 and f(c) == 0 and Counted.made == 1",
    ),
    "object_keeps_its_identity": ("return args[0].left", "n = Node(1, Node(2))\nassert f(n) is n.left"),
    "new_object_out": (
        "return [Pair(1, 2), Pair(a=args[0])]",
        "p, q = f(5)\nassert p == Pair(1, 2) and q != Pair(0, 0) and type(p) is Pair and q.a == 5",
    ),
    "changed_in_place": (
        "n, = args\nn.left, n.right = n.right, n.left\nn.new = Node(9)\ndel n.data",
        "a, b = Node(1), Node(2)\nn = Node(0, a, b)\nassert f(n) is None and n.left is b and n.right is a\n"
        "assert n.new.data == 9 and not hasattr(n, 'data')",
    ),
    "changed_before_raising": (
        "args[0].data = 5\nraise KeyError('k')",
        "n = Node(1)\ntry: f(n)\nexcept KeyError: pass\nassert n.data == 5",
    ),
    "cycle": (
        "n, = args\nreturn n.left is n and n",
        "n = Node(1)\nn.left = n\nassert f(n) is n",
    ),
    "long_chain": (
        "n, = args\ncount = 0\nwhile n: n, count = n.left, count + 1\nreturn count",
        "n = None\nfor i in range(3000): n = Node(i, n)\nassert f(n) == 3000",
    ),
    "slots_and_unset_ones": (
        "s, = args\ns.b = s.a + 1\nreturn s",
        "s = Slotted(1)\nassert f(s) is s and s.b == 2 and not hasattr(Slotted(1), 'b')",
    ),
    "named_tuple": (
        "return Point(args[0].y, args[0].x)",
        "p = f(Point(1, 2))\nassert p == (2, 1) and p.x == 2 and type(p) is Point",
    ),
    "named_tuple_made_by_a_call": ("return args[0]._replace(width=args[0].height)", "assert f(Size(1, 2)).width == 2"),
    "named_tuple_and_enumeration_of_its_own": (
        "global P, E\nclass P(NamedTuple):\n    a: int\nclass E(enum.IntEnum):\n    A = 3\nreturn P(1), E.A",
        "assert f() == ((1,), 3)",
    ),
    "enumeration_of_integers": (
        "return [level is Level.LOW for level in args] + [Level.LOW]",
        "assert f(Level.LOW) == [True, 1]",
    ),
    "enumeration": ("return Colour.BLUE if args[0] is Colour.RED else None", "assert f(Colour.RED) is Colour.BLUE"),
    "object_in_a_list_that_changes": (
        "args[0].append(Node(2)); args[0][0].data = 7",
        "x = [Node(1)]\nfirst = x[0]\nf(x)\nassert [n.data for n in x] == [7, 2] and x[0] is first",
    ),
    "object_by_keyword": ("kwargs['n'].data += 1", "n = Node(1)\nf(n=n)\nassert n.data == 2"),
    "list_by_keyword": ("kwargs['x'].append(1)\nreturn kwargs['x']", "x = []\nassert f(x=x) is x == [1]"),
    "iterator_of_objects": ("return (Node(i) for i in range(3))", "assert [n.data for n in f()] == [0, 1, 2]"),
    "counter_with_objects": (
        "from collections import OrderedDict\nreturn OrderedDict(a=Node(1))",
        "assert f()['a'].data == 1",
    ),
    "types": (
        "return [x for x in args[0] if not isinstance(x, args[1])] + [args[2], type(None), KeyError]",
        "assert f((1, 'a', 2.5), (int, str), list) == [2.5, list, type(None), KeyError]",
    ),
    "class_as_a_value": ("return args[0](3), args[0]", "n, kind = f(Node)\nassert n.data == 3 and kind is Node"),
    "functions_in": (
        "g, h, i, j = args\nreturn [g(1), h([3, 1]), i(2, y=3), j('A'), sorted([2, 1], key=g)]",
        "from functools import partial\n"
        "assert f(lambda v: -v, sorted, partial(lambda x, y: x * y), str.lower) == [-1, [1, 3], 6, 'a', [2, 1]]",
    ),
    "builtin_functions_in_are_ones_own": (
        "return [args[0](['a', 'bc']), args[1] is max, args[2](3), args[0]]",
        "assert f(len, max, repr) == [2, True, '3', len]",
    ),
    "function_with_the_name_of_a_builtin": (
        "return args[0]([2, 1])",
        "def sorted(x): return 'mine'\nassert f(sorted) == 'mine'",
    ),
    "function_that_changes_the_test": (
        "for i in range(3): args[0](i)\nreturn args[0]",
        "seen = []\nadd = seen.append\nassert f(add) is add and seen == [0, 1, 2]",
    ),
    "function_that_raises": (
        "try: args[0](1)\nexcept ZeroDivisionError as error: return str(error)",
        "assert f(lambda x: x / 0) == 'division by zero'",
    ),
    "function_of_objects": (
        "return [n.data for n in sorted(args[0], key=args[1])]",
        "assert f([Node(2), Node(1)], lambda n: n.data) == [1, 2]",
    ),
    "function_out": (
        "total = args[0]\ndef add(x):\n    nonlocal total\n    total += x\n    return total\nreturn add",
        "g, h = f(1), f(10)\nassert g != h and g(1) == 2 and g(1) == 3 and h(1) == 11",
    ),
    "composition": (
        "g, h = args\nreturn lambda x: g(h(x))",
        "assert f(lambda x: x + 1, lambda x: x * 2)(5) == 11",
    ),
    "functions_from_threads": (
        "from concurrent.futures import ThreadPoolExecutor as T\nwith T(4) as t: return list(t.map(*args))",
        "assert f(lambda x: x * x, [1, 2, 3, 4, 5, 6, 7, 8]) == [1, 4, 9, 16, 25, 36, 49, 64]",
    ),
    "values_of_the_standard_library_changed_in_place": (
        """
from collections import Counter, deque
from collections.abc import Iterator
for each in args:
    if isinstance(each, deque):
        each.rotate(1)
    elif isinstance(each, Counter):
        each["a"] += 1
    elif isinstance(each, Iterator):
        next(each)
return [type(each).__name__ for each in args]
""",
        """
import collections, decimal, pathlib
items, counts, iterator = collections.deque([1, 2, 3]), collections.Counter("a"), iter((1, 2))
names = f(decimal.Decimal(1), pathlib.Path("a"), items, counts, iterator)
assert names == ["Decimal", "PosixPath", "deque", "Counter", "list_iterator"]
assert items == collections.deque([3, 1, 2]) and counts == {"a": 2} and list(iterator) == [2]
""",
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_right_program_passes(name: str, judge_one: JudgeOne) -> None:
    verdict = judge_one(problem(*PASSING[name]))
    assert verdict.verdict == "passed", verdict


REFUSED = {
    "class_of_its_own": ("class Own: pass\nreturn Own()", "assert f() != 1", "unsupported", "not plain data: Own"),
    "equality_of_its_own": (
        "Pair.__eq__ = Node.__eq__ = lambda self, other: True\nreturn Pair(9, 9)",
        "assert f() == Pair(1, 2), 'unequal'",
        "wrong",
        "unequal",
    ),
    "class_of_the_same_name": (
        "global Pair\nclass Pair:\n    a = 1\n    def __eq__(self, other): return True\nreturn Pair()",
        "assert f() == Pair(1, 2), 'unequal'",
        "wrong",
        "unequal",
    ),
    "field_instead_of_a_method": (
        "k = Keyed()\nk.same = lambda other: True\nreturn k",
        "assert f() == Keyed()",
        "unsupported",
        "the field same hides a method",
    ),
    "argument_with_a_field_instead_of_a_method": (
        "args[0].same = lambda other: True",
        "k = Keyed()\nf(k)\nassert k == Keyed()",
        "unsupported",
        "the field same hides a method",
    ),
    "field_instead_of_a_special_method": (
        "p = Pair()\np.__dict__['__eq__'] = lambda other: True\nreturn p",
        "assert f() == Pair(1, 2)",
        "unsupported",
        "the field __eq__ hides a method",
    ),
    "builtin_function_that_runs_text": (
        "return eval if args[0] else \"__import__('os')._exit(0)\"",
        "run, text = f(1), f(0)\nassert run(text) == 5",
        "died",
        "",
    ),
    "callable_object": (
        "class Own:\n    def __call__(self): return 1\nreturn Own()",
        "assert f()() == 1",
        "unsupported",
        "",
    ),
    "function_equal_to_everything": ("return lambda: 1", "assert f() == 1, 'unequal'", "wrong", "unequal"),
    "exit_in_a_function_handed_over": ("import os\nreturn lambda: os._exit(0)", "assert f()() == 1", "died", ""),
    "exception_of_a_function_of_the_tests_is_swallowed": (
        "try: args[0]()\nexcept BaseException: return 1",
        "def g(): assert False\nassert f(g) == 2, 'went on'",
        "wrong",
        "went on",
    ),
    "calls_itself_by_a_function_of_the_tests": (
        "return args[0]()",
        "assert f(lambda: f(lambda: 1)) == 1",
        "unsupported",
        "while it calls one of theirs",
    ),
    "calls_for_ever": ("while True: args[0]()", "f(lambda: 1)", "timeout", ""),
    "lock_in_a_field": (
        "import threading\nargs[0].data = threading.Lock()",
        "f(Node(1))",
        "unsupported",
        "not plain data: lock",
    ),
    "own_class_of_the_tests": (
        "return 1",
        "class Own: pass\nassert f(Own()) == 1",
        "unsupported",
        "not plain data: Own",
    ),
    "object_with_a_class_of_the_tests_by_its_name": (
        "return 1",
        "class Node: pass\nassert f(Node()) == 1",
        "unsupported",
        "not plain data: Node",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_program_gains_nothing(name: str, judge_one: JudgeOne) -> None:
    body, checks, verdict, detail = REFUSED[name]
    found = judge_one(problem(body, checks))
    assert (found.verdict, detail in found.detail) == (verdict, True), found


def test_class_that_the_program_writes_is_not_taken_from_the_reference(judge_one: JudgeOne) -> None:
    """Or its methods would be the reference's: of a class under test nothing but calls may be judged."""
    test = "def check(candidate):\n    s = candidate()\n    s.push(1)\n    assert s.pop() == 1\n"
    right = "class Stack:\n    def __init__(self): self.x = []\n    def push(self, v): self.x.append(v)\n"
    right += "    def pop(self): return self.x.pop()\n"
    wrong = "class Stack:\n    def __init__(self): self.x = []\n"
    by_class = Problem(task_id="t", prompt="", entry_point="Stack", canonical_solution=right, test=test)
    assert judge_one(Program.of(by_class, wrong)).verdict == "unsupported"
    by_function = Problem(
        task_id="t",
        prompt="def f():\n    return Stack()\n",
        entry_point="f",
        canonical_solution=right,
        test=test,
    )
    assert judge_one(Program.of(by_function, wrong)).verdict == "unsupported"


def test_program_without_the_class_of_its_prompt_has_an_error(judge_one: JudgeOne) -> None:
    verdict = judge_one(problem("return 1\ndel Node", "assert f(Node(1)) == 1"))
    assert verdict.verdict == "passed", "a local name only"
    indented = judge_one(problem("pass\ndel globals()['Node']", "f(1)\nf(Node(1))"))
    assert indented.verdict == "error" and "NameError" in indented.detail


METHOD = Problem(
    task_id="a_method",
    prompt=(
        "class Stack:\n    def __init__(self, items=()):\n        self.items = list(items)\n\n"
        "    def push(self, item, *more):\n"
    ),
    entry_point="Stack.push",
    canonical_solution="        self.items += [item, *more]\n        return len(self.items)\n",
    test=(
        "def check(candidate):\n    stack = Stack([1])\n    assert candidate(stack, 2) == 2\n"
        "    assert stack.items == [1, 2]\n    assert candidate(stack, 3, 4) == 4\n"
    ),
)


@pytest.mark.parametrize(
    ("completion", "verdict"),
    [
        (METHOD.canonical_solution, "passed"),
        ("        self.items.append(item)\n        return len(self.items)\n", "wrong"),
        ("        self.items = [item, *more]\n        return 2\n", "wrong"),
        ("        self.__class__ = int\n", "error"),
        ("        return 2\n\n    def __eq__(self, other):\n        return True\n", "wrong"),
        ("        pass\n\ndel Stack.push\n", "error"),
        ("        pass\n\ndel Stack\n", "error"),
    ],
    ids=["right", "forgets_some", "changes_another_list", "changes_its_class", "own_equality", "deleted", "no_class"],
)
def test_method_is_called_on_an_object_that_the_test_made(completion: str, verdict: str, judge_one: JudgeOne) -> None:
    assert judge_one(Program.of(METHOD, completion)).verdict == verdict


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("class A:\n    pass\ndef f():\n", ("A",)),
        ("class A:\n    x = '\\d'\nclass B:\n    def f(self):\n", ("A",)),
        ("class A:\n    pass\nB = C = g(1)\nx, y = g(2)\nA = g(3)\ndef f():\n    return 1\n", ("A", "B", "C")),
        ("class f:\n    pass\nclass A:\n    pass\nx = 1\n", ("A",)),
        ("def f(:\n", ()),
        ("", ()),
    ],
)
def test_classes_that_a_prompt_gives(prompt: str, expected: tuple[str, ...]) -> None:
    assert given_classes(prompt, "f") == expected


@pytest.mark.parametrize(
    ("test", "reference", "expected"),
    [
        ("def check(c):\n    assert c(1) == 2", "import math\ndef f(x): return x", False),
        ("def check(c):\n    assert f(1) == 2", "def f(x): return x", False),
        ("def check(c):\n    assert g(c(1)) == 2", "def g(x): return x\ndef f(x): return x", True),
        ("def check(c):\n    assert c(1) == math.pi", "import math as m\ndef f(x): return x", False),
        ("def check(c):\n    assert c(1) == math.pi", "import math\ndef f(x): return x", True),
        ("def check(c):\n    assert c(1) == math.pi", "from math import *\ndef f(x): return x", True),
        ("def check(c):\n    assert os.sep", "import os.path\n", True),
        ("def check(c):\n    assert sum(c(1)) == 1", "def sum(x): return 1\n", True),
        ("def check(c):\n    assert c(1) == K", "try:\n    K = 1\nexcept E as K:\n    pass", True),
        ("def check(c):\n    assert c(1) == K", "for i, K in x: pass", True),
        ("def check(c):\n    assert c(1) == K", "def f(K):\n    y = K", False),
        ("def check(c):\n    assert c(1) == K", "def f():\n    global K\n    K = 1\nf()", True),
        ("def check(c):\n    assert c(1) == K", "def f(x=(K := 1)): pass", True),
        ("def check(c):\n    assert c(1) == K", "match x:\n    case {'a': 1, **K}: pass", True),
        ("def check(c):\n    assert eval('K')", "K = 1", True),
        ("import sys\ndef check(c): pass", "", True),
        ("def check(c:", "", True),
        ("def check(c): pass", "def f(:", True),
    ],
)
def test_reference_is_run_for_a_test_that_uses_it(test: str, reference: str, expected: bool) -> None:
    assert uses_reference(test, reference, "f") is expected


def test_program_has_the_reference_only_when_its_test_needs_it() -> None:
    def references(test: str, prompt: str = "K = 1\ndef f():\n") -> tuple[str, ...]:
        problem = Problem(task_id="t", prompt=prompt, entry_point="f", canonical_solution="    return 1\n", test=test)
        return Program.of(problem, "    return 2\n").references

    assert references("def check(c):\n    assert c() == 1") == ()
    assert references("def check(c):\n    assert c() == K")[0] == "K = 1\ndef f():\n    return 1\n"
    assert references("def check(c):\n    assert c().a == 1", "class A: pass\ndef f():\n")


class Node:
    def __init__(self) -> None:
        self.data: Any = 1


class Slot:
    __slots__ = ("a",)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        7,
        [7],
        [["Node"]],
        [["Node", [["data"]]]],
        [["Node", [[[], 1]]]],
        [["Slot", []]],
        [["Node", [["data", {"o": 2}]]]],
        [["Node", [["data", {"o": -1}]]]],
        [["Node", []], ["int", []]],
        [["Node", []], ["Missing", []]],
        [["Node", []], ["Slot", [["b", 1]]]],
        [["Node", [["data", {"e": ["Node", "x", None]}]]]],
        [["Node", [["data", {"n": [7, []]}]]]],
        [["Node", [["data", {"e": [7, 7]}]]]],
        [["Node", [["data", {"own": 0}]]]],
        [["Node", [["data", {"call": "x"}]]]],
        [["Node", [["data", {"T": "eval"}]]]],
        [["Node", [["data", {"T": []}]]]],
        [["Node", [["data", {"k": "nothing"}]]]],
        [["Node", [["data", {"F": "eval"}]]]],
        [["Node", [["__init__", 1]]]],
    ],
    ids=repr,
)
def test_faulty_table_is_refused(rows: Any) -> None:
    classes: dict[str, object] = {"Node": Node, "Slot": Slot, "int": int}
    message = Message(Border(classes.get, lambda *_: None))
    form = message.encode([Node()])
    assert form == [{"o": 0}] and message.rows() == [["Node", [["data", 1]]]]
    with pytest.raises((NotPlainData, TypeError, ValueError)):
        message.receive(rows)
