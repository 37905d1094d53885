"""Answers that are equal to whatever a test expects: objects, subclasses, metaclasses, proxies."""

from __future__ import annotations

from tests.sandbox.cheats.family import BOTH, Family

CHEATS = {
    "object_equal_to_everything": Family(
        tries="return an object whose == is always true",
        fools=BOTH,
        source="""
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(x): return Equal()
""",
    ),
    "int_subclass_equal_to_everything": Family(
        tries="the same as an int, for isinstance",
        fools=BOTH,
        source="""
class Equal(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def f(x): return Equal(-1)
""",
    ),
    "float_subclass_equal_to_everything": Family(
        tries="the same as a float, near everything",
        task="floats",
        source="""
class Equal(float):
    def __eq__(self, other): return True
    def __mul__(self, other): return self
    def __sub__(self, other): return Equal(0)
    def __abs__(self): return Equal(0)
    def __lt__(self, other): return True
    __hash__ = float.__hash__
def f(x): return Equal(-1)
""",
    ),
    "str_subclass_equal_to_everything": Family(
        tries="the same as a str",
        source="""
class Equal(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return Equal('x')
""",
    ),
    "complex_subclass_equal_to_everything": Family(
        tries="the same as a complex",
        source="""
class Equal(complex):
    def __eq__(self, other): return True
    def __complex__(self): return 4 + 0j
    __hash__ = complex.__hash__
def f(x): return Equal(-1)
""",
    ),
    "list_subclass_equal_to_everything": Family(
        tries="the same as a list, whose iteration lies too",
        fools=BOTH,
        task="reversed_lists",
        source="""
class Equal(list):
    def __eq__(self, other): return True
    def __iter__(self): return iter([1, 7])
    def __len__(self): return 2
    def __getitem__(self, at): return [1, 7][at]
def f(x): return Equal()
""",
    ),
    "tuple_subclass_equal_to_everything": Family(
        tries="the same as a tuple",
        fools=BOTH,
        task="reversed_lists",
        source="""
class Equal(tuple):
    def __eq__(self, other): return True
    __hash__ = tuple.__hash__
def f(x): return Equal([0])
""",
    ),
    "dict_subclass_equal_to_everything": Family(
        tries="the same as a dict, whose items lie too",
        source="""
class Equal(dict):
    def __eq__(self, other): return True
    def items(self): return [('a', 4)]
def f(x): return Equal()
""",
    ),
    "set_subclass_equal_to_everything": Family(
        tries="the same as a set and a frozenset",
        source="""
class Equal(set):
    def __eq__(self, other): return True
    def __iter__(self): return iter([4])
class Frozen(frozenset):
    def __eq__(self, other): return True
    __hash__ = frozenset.__hash__
def f(x): return Equal() if x % 2 else Frozen()
""",
    ),
    "items_equal_to_everything": Family(
        tries="put the lying object inside an honest list",
        fools=BOTH,
        task="reversed_lists",
        source="""
class Equal(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return [Equal(0) for _ in x]
""",
    ),
    "metaclass_equal_to_everything": Family(
        tries="return a class whose metaclass compares",
        fools=BOTH,
        source="""
class Meta(type):
    def __eq__(cls, other): return True
    def __instancecheck__(cls, other): return True
    def __hash__(cls): return 0
class Equal(metaclass=Meta): pass
def f(x): return Equal
""",
    ),
    "lies_about_its_class": Family(
        tries="claim to be an int by __class__, __int__ and __index__",
        fools=BOTH,
        source="""
class Equal:
    __class__ = int
    def __eq__(self, other): return True
    def __int__(self): return 4
    def __index__(self): return 4
def f(x): return Equal()
""",
    ),
    "class_that_changes_when_looked_at": Family(
        tries="be an int for the type check, and another object afterwards",
        source="""
class Equal(int):
    looks = 0
    def __getattribute__(self, name):
        Equal.looks += 1
        return int if name == '__class__' else int.__getattribute__(self, name)
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return Equal(x)
""",
    ),
    "reduces_to_the_expected_value": Family(
        tries="be rebuilt by pickle or copy as something else: whatever __reduce__ says",
        fools=BOTH,
        source="""
class Answer:
    def __reduce__(self): return (eval, ("__import__('os')._exit(0)",))
    def __deepcopy__(self, memo): return self
    def __eq__(self, other): return True
def f(x): return Answer()
""",
    ),
    "any_of_unittest_mock": Family(
        tries="return unittest.mock.ANY, the standard library's own liar",
        fools=BOTH,
        source="from unittest.mock import ANY\ndef f(x): return ANY\n",
    ),
    "magic_mock": Family(
        tries="return a mock that answers to everything",
        source="""
from unittest.mock import MagicMock
def f(x):
    answer = MagicMock(spec=int)
    answer.__eq__ = lambda self, other: True
    return answer
""",
    ),
    "weak_proxy": Family(
        tries="hide the lying object behind weakref.proxy, whose type is nobody's",
        fools=BOTH,
        source="""
import weakref
class Equal:
    def __eq__(self, other): return True
kept = Equal()
def f(x): return weakref.proxy(kept)
""",
    ),
    "enum_equal_to_everything": Family(
        tries="return a member of an IntEnum that compares",
        source="""
import enum
class Equal(enum.IntEnum):
    ONE = 0
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def f(x): return Equal.ONE
""",
    ),
    "pretends_to_be_numpy": Family(
        tries="pass for a NumPy scalar by its module's name, with an item() of its own",
        fools=BOTH,
        source="""
class Equal:
    ndim = 0
    def item(self): return Equal()
    def __eq__(self, other): return True
Equal.__module__ = 'numpy'
def f(x): return Equal()
""",
    ),
    "numpy_item_that_lies": Family(
        tries="the same with an item() that answers another number each time",
        fools=BOTH,
        source="""
import itertools
numbers = itertools.cycle([4, 0, 9, 1])
class Scalar:
    ndim = 0
    def item(self): return next(numbers)
    def __eq__(self, other): return True
Scalar.__module__ = 'numpy'
def f(x): return Scalar()
""",
    ),
    "numpy_array_of_liars": Family(
        tries="a zero-dimensional object array that holds the lying object",
        source="""
import numpy as np
class Equal:
    def __eq__(self, other): return True
def f(x):
    box = np.empty((), dtype=object)
    box[()] = Equal()
    return box
""",
    ),
    "numpy_masked": Family(
        tries="numpy.ma.masked and arrays, whose == gives an array and not a bool",
        source="import numpy as np\ndef f(x): return np.ma.masked if x == 2 else np.ones(3) * x\n",
    ),
    "reflected_comparison": Family(
        tries="a subclass of the expected type: Python asks the subclass's == first",
        fools=BOTH,
        task="reversed_lists",
        source="""
class Equal(list):
    def __eq__(self, other):
        self[:] = other
        return True
    __ne__ = lambda self, other: False
def f(x): return Equal()
""",
    ),
    "coroutine": Family(
        tries="return an awaitable that nobody awaits",
        source="async def f(x):\n    return x * x\n",
    ),
    "a_class": Family(
        tries="be a class whose instances compare",
        fools=BOTH,
        source="class f:\n    def __init__(self, x): pass\n    def __eq__(self, other): return True\n",
    ),
    "generator": Family(
        tries="return an iterator over the right answer, or over what never ends",
        source="import itertools\ndef f(x):\n    return itertools.count() if x == 3 else iter([x * x])\n",
    ),
}
