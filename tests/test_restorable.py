"""Values of the standard library and of a project as forms, back, and as source; none of the project's code runs."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import re
import sys
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import pytest

from megatron_codex.problems.restorable_source import names_in, restorable_source
from megatron_codex.restorable_objects import Named, decode_restorable, encode_restorable, is_iterator, object_at
from megatron_codex.tagged import NotPlainData

UTC = datetime.timezone.utc  # noqa: UP017


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntFlag):
    LOW = 1
    HIGH = 2


Pair = namedtuple("Pair", "left right")


class Row(NamedTuple):
    name: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: Any = field(default=0, repr=False)


@dataclass
class Tree:
    value: Any
    children: list[Tree] = field(default_factory=list)


def some_function() -> None: ...


VALUES: list[Any] = [
    Decimal("1.50"), Decimal("-Infinity"), Fraction(3, -7),
    datetime.date(2020, 2, 29), datetime.time(1, 2), datetime.time(1, 2, 3, 4, UTC),
    datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.datetime(2020, 1, 2, tzinfo=UTC),
    datetime.datetime(2020, 7, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    datetime.timedelta(days=-1, microseconds=5), datetime.timezone(datetime.timedelta(hours=2), "X"),
    Path("a/b"), PureWindowsPath("C:\\x"), uuid.UUID(int=5), re.compile("a.b", re.I | re.S), re.compile(b"x"),
    deque([1, 2]), deque([1], 3), OrderedDict([("b", 1), ("a", [2])]), Counter("aab"), defaultdict(list, {1: [2]}),
    defaultdict(None, {}), np.float64(1.5), np.int8(3), np.bool_(True),
    Colour.RED, Level.LOW, Pair(1, [2]), Row("a"), Point(1, Decimal(2)), Tree(1, [Tree(2)]),
    len, str.upper, int, Point, some_function, collections.OrderedDict, [{"k": (Decimal(1), {Fraction(1, 2)})}],
]  # fmt: skip


def _find(module: str, name: str) -> Any:
    return object_at(module, name)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {value!r}".partition(" at 0x")[0])
def test_there_and_back_and_as_source(value: Any) -> None:
    form = json.loads(json.dumps(encode_restorable(value)))
    back = decode_restorable(form, _find)
    expression, imports = restorable_source(form)
    scope = dict(vars(sys.modules[__name__]))
    exec("".join(imports), scope)
    for made in (back, eval(expression, scope)):
        assert type(made) is type(value)
        assert made == value
        assert repr(made) == repr(value)
    decode_restorable(form)  # without the classes too


@pytest.mark.parametrize("shape", [(6,), (2, 3), (0, 3), ()])
def test_arrays(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype="<i2").reshape(shape)
    form = encode_restorable(array)
    expression, imports = restorable_source(form)
    scope: dict[str, Any] = {}
    exec("".join(imports), scope)
    for made in (decode_restorable(form), eval(expression, scope)):
        assert made.dtype == array.dtype and made.shape == shape and (made == array).all()


@pytest.mark.parametrize(
    "iterator", [iter([1, 2, 3]), iter((1, 2, 3)), iter(range(1, 4)), iter("1é2")], ids=lambda each: type(each).__name__
)
def test_iterators_are_not_consumed(iterator: Any) -> None:
    next(iterator)
    form = encode_restorable(iterator)
    left = list(decode_restorable(form))
    assert left == list(eval(restorable_source(form)[0])) == list(iterator)
    assert len(left) == 2
    assert encode_restorable(iterator) == {"I": []}


class Hostile:
    """Whatever it is asked, it tells."""

    def __init__(self) -> None:
        object.__setattr__(self, "kept", 1)

    def _tell(self, *args: Any) -> Any:
        raise BaseException("the project's code ran")

    __eq__ = __hash__ = __repr__ = __getattr__ = __getattribute__ = _tell  # type: ignore[assignment]
    __iter__ = __len__ = __bool__ = __getstate__ = __str__ = __setattr__ = __instancecheck__ = _tell


class HostileReduction(Hostile):
    __reduce__ = Hostile._tell


class HostileMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise BaseException("the project's code ran")

    def __hash__(cls) -> int:
        raise BaseException("the project's code ran")

    __eq__ = __getattribute__  # type: ignore[assignment]


def _of_hostile_meta() -> Any:
    """Made late: pytest looks at what a module holds."""
    return HostileMeta("OfHostileMeta", (), {})


class HasProperty:
    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise BaseException("the project's code ran")


class Dies:
    def __del__(self) -> None:
        deaths.append(1)


class Lying(Decimal):
    def __str__(self) -> str:
        raise BaseException("the project's code ran")


class LyingList(list[int]):
    def __len__(self) -> int:
        raise BaseException("the project's code ran")


class LyingAtAll(LyingList):
    __iter__ = __getitem__ = LyingList.__len__  # type: ignore[assignment]


deaths: list[int] = []


def _local() -> Any:
    class Local:
        pass

    return Local()


WITHOUT_A_FORM = {
    "hostile": HostileReduction, "of_hostile_class": lambda: _of_hostile_meta()(), "hostile_class": _of_hostile_meta,
    "items_of_hostile_class": lambda: deque([[_of_hostile_meta()()]]),
    "property": HasProperty, "subclass": lambda: Lying(1), "list_subclass": LyingAtAll,
    "iterator_over_subclass": lambda: iter(LyingList()), "local": _local, "lambda": lambda: lambda: 1,
    "bound_method": lambda: [].append, "exception": ValueError, "object": object, "module": lambda: sys,
    "two_flags": lambda: Level.LOW | Level.HIGH,
    "generator": lambda: (n for n in ()), "memoryview": lambda: memoryview(b""),
    "huge_decimal": lambda: Decimal("1e99999"), "time_that_comes_twice": lambda: datetime.datetime(2020, 1, 1, fold=1),
}  # fmt: skip


@pytest.mark.parametrize("name", WITHOUT_A_FORM)
def test_no_form_and_no_code_of_the_project(name: str) -> None:
    value = WITHOUT_A_FORM[name]()
    with pytest.raises(NotPlainData):
        decode_restorable(encode_restorable(value))


def test_state_is_read_past_the_classes_own_methods() -> None:
    form = encode_restorable(Hostile())
    assert form == {"O": [__name__, "Hostile", [["kept", 1]]]}


def test_asking_for_an_iterator_asks_no_metaclass() -> None:
    assert is_iterator(type(iter([]))) and is_iterator(type(zip()))
    assert not is_iterator(_of_hostile_meta()) and not is_iterator(list)


def test_looking_makes_no_object_that_dies() -> None:
    kept = Dies()
    with pytest.raises(NotPlainData):
        encode_restorable(kept)
    assert deaths == []


def test_a_false_name_does_not_help() -> None:
    false = type("Decimal", (), {"__module__": "decimal", "__qualname__": "Decimal"})
    with pytest.raises(NotPlainData):
        encode_restorable(false())


@pytest.mark.parametrize(
    "form",
    [
        {"x": 1}, {"x": []}, {"x": ["os.system", ["true"]]}, {"x": ["decimal.Decimal", ["x"]]},
        {"x": ["decimal.Decimal", [{"x": 1}]]}, {"x": [["decimal.Decimal"], []]},
        {"x": ["decimal.Decimal", ["1e99999"]]},
        {"x": ["fractions.Fraction", [1, 0]]}, {"x": ["re.Pattern", ["(", 0]]}, {"x": ["re.Pattern", ["x" * 3000, 0]]},
        {"x": ["numpy.array", [[1], "O", [2]]]}, {"x": ["zoneinfo.ZoneInfo", ["../../etc/passwd"]]},
        {"I": 1}, {"m": []}, {"m": ["os", "system", 1]}, {"m": [1, 2]}, {"E": ["a", "B", 1]}, {"N": ["a", "B", 1]},
        {"O": ["a", "B", [["x"]]]}, {"O": ["a", "B", [[1, 2]]]}, {"O": ["a", "B"]}, {"q": 1},
    ],
    ids=str,
)  # fmt: skip
def test_malformed_forms_are_refused(form: Any) -> None:
    with pytest.raises(NotPlainData):
        decode_restorable([form])
    with pytest.raises(NotPlainData):
        restorable_source([form])


def test_deep_forms_are_refused() -> None:
    form: Any = 1
    for _ in range(20_000):
        form = {"x": ["collections.deque", [form]]}
    with pytest.raises(NotPlainData):
        decode_restorable(form)


def test_what_is_not_at_hand_is_named() -> None:
    form = {"O": ["lib", "Thing", [["x", 1]]]}
    assert decode_restorable([form]) == [Named(module="lib", name="Thing", parts=(("x", 1),))]
    assert names_in([form, {"d": [[{"m": ["lib", "f"]}, {"N": ["lib", "P", [{"E": ["lib", "C", "RED"]}]]}]]}]) == {
        ("lib", "Thing"), ("lib", "f"), ("lib", "P"), ("lib", "C"),
    }  # fmt: skip
    with pytest.raises(NotPlainData, match="is no name"):
        restorable_source({"m": ["lib", "f(); import os"]})
