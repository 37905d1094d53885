"""Answers that lie about being Decimals, dates, paths, arrays: the types that restorable.py carries across.

Each is an honest program that answers all kinds of values rightly but one, with a liar in its place.
"""

from __future__ import annotations

from tests.sandbox.cheats.family import TASKS, Family


def _lies(kind: str, tries: str, liar: str) -> Family:
    """liar: source of a function lie(right), which is given the right answer for x = 1 whatever x is."""
    source = TASKS["restorable"].honest.replace("def f(", "def right(")
    answer = f"def f(kind, x):\n    return lie(right(kind, 1)) if kind == {kind!r} else right(kind, x)\n"
    return Family(tries=tries, task="restorable", source=f"{source}{liar}{answer}")


def _subclass(kind: str, base: str, make: str) -> Family:
    liar = f"""
class Equal({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def lie(right): return {make}
"""
    return _lies(kind, f"return a subclass of {base} whose == is always true", liar)


CHEATS = {
    "decimal_subclass": _subclass("decimal", "decimal.Decimal", "Equal(right)"),
    "fraction_subclass": _subclass("fraction", "fractions.Fraction", "Equal(right)"),
    "date_subclass": _subclass("day", "datetime.date", "Equal(2000, 1, 1)"),
    "path_subclass": _subclass("path", "pathlib.PurePosixPath", "Equal(right)"),
    "deque_subclass": _subclass("deque", "collections.deque", "Equal(right)"),
    "ordered_dict_subclass": _subclass("ordered", "collections.OrderedDict", "Equal(right)"),
    "array_subclass": _lies(
        "array",
        "an array whose == is an array of truths",
        """
class Equal(numpy.ndarray):
    def __eq__(self, other): return numpy.array([True, True])
def lie(right): return right.view(Equal)
""",
    ),
    "array_of_liars": _lies(
        "array",
        "an array of objects that are equal to everything",
        """
class Equal:
    def __eq__(self, other): return True
def lie(right): return numpy.array([Equal(), Equal()], dtype=object)
""",
    ),
    "claims_to_be_decimal": _lies(
        "decimal",
        "a class of that name and module",
        """
class Decimal:
    def __eq__(self, other): return True
    def __str__(self): return "NaN"
Decimal.__module__ = "decimal"
def lie(right): return Decimal()
""",
    ),
    "takes_the_place_of_decimal": _lies(
        "decimal",
        "put a class of its own where the standard library has Decimal",
        """
class Decimal(str):
    def __eq__(self, other): return True
    __hash__ = None
Decimal.__module__ = "decimal"
def lie(right):
    decimal.Decimal = Decimal
    return Decimal("1e9999999")
""",
    ),
    "zone_of_its_own": _lies(
        "day",
        "a time in a zone whose methods are the program's",
        """
class Zone(datetime.tzinfo):
    def utcoffset(self, when): return None
    def __eq__(self, other): return True
def lie(right): return datetime.datetime(2000, 1, 1, tzinfo=Zone())
""",
    ),
    "default_of_its_own": _lies(
        "missing",
        "a defaultdict whose default is the program's function, asked while the tests look",
        "def lie(right): return collections.defaultdict(lambda: 0, {1: 1, 2: 1})\n",
    ),
    "iterator_of_its_own": _lies(
        "iterator",
        "an iterator that says what it goes over when it is asked to be copied",
        """
class Lying:
    def __reduce__(self): return (eval, ("[2, 0]",))
    def __iter__(self): return self
    def __next__(self): raise StopIteration
    def __length_hint__(self): return 2
def lie(right): return Lying()
""",
    ),
    "endless_iterator": _lies(
        "iterator", "an iterator without end", "import itertools\ndef lie(right): return itertools.repeat(1)\n"
    ),
    "deque_in_itself": _lies(
        "deque", "a deque that holds itself", "def lie(right): right.append(right); return right\n"
    ),
    "pattern_that_is_slow": _lies(
        "pattern", "a pattern that takes long to compile", "def lie(right): return re.compile('(' * 90 + ')' * 90)\n"
    ),
}
