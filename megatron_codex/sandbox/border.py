"""What crosses between a tester and a candidate besides plain data: builtin types, objects, functions, Decimals.

In: values. Out: tagged JSON with more tags, and back. Each side makes a value from what it has itself:
* `T`, `k`, a builtin type, a class that the problem's prompt defines: by name;
* `o`, an object of such a class: class name and fields, rebuilt from the receiver's own
  class of that name without a call of its constructor; so equality and methods are always the receiver's. Objects are
  numbered in a table beside the message: one keeps its identity in a call, may hold itself, and may be changed there;
* `n`, `e`, a named tuple of such a class, a member of such an enumeration; who has no such class takes the plain tuple,
  or the plain value of an IntEnum, which are equal to it;
* `x`, `I`, a value of a type of the standard library or NumPy, an iterator over a plain sequence (restorable.py): made
  by the receiver's own constructor;
* `F`, a builtin function that a test hands over, by name;
* `call`, `own`: any other function of the sender, of the receiver: the other side gets a stub, each call of which is
  sent back. A function of the candidate's is only ever run there: given `eval`, a test might run text that it gets.
The codec of plain data is tagged.py. Nothing here makes a class or runs code that came from the other side.
"""

from __future__ import annotations

import builtins
import enum
import types
from abc import ABCMeta
from collections.abc import Callable
from typing import Any

from megatron_codex.restorable import is_standard, standard_form, standard_value
from megatron_codex.sandbox.plain import as_plain
from megatron_codex.tagged import NotPlainData, decode, encode

MAX_OBJECTS = 100_000
TYPES: dict[str, type] = {
    name: value for name, value in vars(builtins).items() if type(value) is type and value.__name__ == name
}
TYPES["NoneType"] = type(None)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: value for name, value in vars(builtins).items() if type(value) is types.BuiltinFunctionType
}
_MODULES_OF_FUNCTIONS = ("builtins", "functools", "operator")

Row = list[Any]
"""Of an object: [name of its class, [[field, form], ...]]."""


class UnknownClassError(NotPlainData):
    """The receiver has no class of that name."""


class HiddenMethodError(NotPlainData):
    """A field has the name of a method: whoever asks the object would ask the sender, and tell him what it is asked."""


class Stub:
    """A function that lives on the other side. Equal to itself only."""

    def __init__(self, number: int, call: Callable[[int, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        self._number, self._call = number, call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._number, args, kwargs)


class Border:
    """One side of the border, for as long as the process lives: its classes and the functions it handed over."""

    def __init__(
        self,
        find_class: Callable[[str], object],
        call: Callable[[int, tuple[Any, ...], dict[str, Any]], Any],
        *,
        is_candidate: bool = False,
    ) -> None:
        """find_class: what this side has under a class's name. call: runs the other side's function of a number."""
        self._is_candidate = is_candidate
        self._named: set[str] = set()
        """Builtin functions that the tests handed over."""
        self._find_class = find_class
        self._call = call
        self._functions: list[Callable[..., Any]] = []
        self._numbers: dict[int, int] = {}

    def function(self, number: Any) -> Callable[..., Any]:
        """The function that was handed over under this number. Raises: NotPlainData."""
        if type(number) is not int or not 0 <= number < len(self._functions):
            raise NotPlainData("no such function was handed over")
        return self._functions[number]

    def hand_over(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The form of a function: a stub goes home, one of our own gets a number."""
        if type(function) is Stub:
            return {"own": function._number}
        name = getattr(function, "__name__", None)
        if type(name) is str and FUNCTIONS.get(name) is function and (name in self._named or not self._is_candidate):
            self._named.add(name)
            return {"F": name}
        if id(function) not in self._numbers:
            self._numbers[id(function)] = len(self._functions)
            self._functions.append(function)
        return {"call": self._numbers[id(function)]}

    def builtin(self, name: Any) -> Callable[..., Any]:
        """A builtin function by name; of a candidate's only what the tests had given it."""
        if type(name) is not str or name not in FUNCTIONS or not (self._is_candidate or name in self._named):
            raise NotPlainData("no such builtin function was handed over")
        self._named.add(name)
        return FUNCTIONS[name]

    def receive(self, number: Any) -> Stub:
        if type(number) is not int:
            raise NotPlainData("a function has no number")
        return Stub(number, self._call)

    def find(self, name: Any) -> type[Any] | None:
        found = self._find_class(name) if type(name) is str else None
        return found if isinstance(found, type) else None

    def class_named(self, name: Any) -> type[Any]:
        found = self.find(name)
        if found is None:
            raise UnknownClassError(f"there is no class {name} here")
        return found

    def takes_as_plain(self, kind: type) -> bool:
        """Of a candidate's NumPy scalars: the numbers alone, for testers without NumPy."""
        return self._is_candidate and kind.__module__ == "numpy" and kind.__name__ != "ndarray"

    def shares(self, kind: type) -> bool:
        """Whether this class is the one that its name stands for here."""
        return self._find_class(kind.__qualname__) is kind


class Message:
    """The values of one call and its answer; its objects have the same numbers on both sides."""

    def __init__(self, border: Border) -> None:
        self._border = border
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._rows: list[Row] = []

    def encode(self, value: Any) -> Any:
        """Raises: NotPlainData."""
        return encode(value, self._form)

    def encode_equal(self, value: Any) -> Any:
        """As encode, with as_plain's leave: for answers."""
        try:
            return self.encode(value)
        except NotPlainData:
            return self.encode(as_plain(value, keep=self._takes))

    def rows(self) -> list[Row]:
        """The table of all objects encoded or received so far, and of those that they hold."""
        rows: list[Row] = []
        for value in self._objects:  # grows as the fields are encoded
            fields = [[name, self.encode_equal(field)] for name, field in _fields(value).items()]
            rows.append([type(value).__qualname__, fields])
        self._rows = rows
        return rows

    def decode(self, form: Any) -> Any:
        """Raises: NotPlainData."""
        try:
            return decode(form, self._value)
        except NotPlainData:
            raise
        except Exception as error:  # a class's own __hash__ or __eq__, asked for a place in a set
            raise NotPlainData(f"{type(error).__name__}: {error}") from error

    def receive(self, rows: Any) -> None:
        """Take over a table: make the objects that are new, give those that are ours the fields that changed."""
        if type(rows) is not list or not len(self._rows) <= len(rows) <= MAX_OBJECTS:
            raise NotPlainData("a table of objects has the wrong size")
        names = [_parts(row)[0] for row in rows]
        if any(type(value).__qualname__ != name for value, name in zip(self._objects, names, strict=False)):
            raise NotPlainData("an object changed its class")
        for name in names[len(self._objects) :]:
            self._add(_new(self._border.class_named(name)))
        for number, (value, row) in enumerate(zip(self._objects, rows, strict=True)):
            known = number < len(self._rows)
            before: dict[str, Any] = dict(self._rows[number][1]) if known else {}
            after = dict(_parts(row)[1])
            changed = {name: self.decode(form) for name, form in after.items() if before.get(name, row) != form}
            _set_fields(value, changed, gone=[name for name in before if name not in after])
        self._rows = rows

    def _takes(self, value: Any) -> bool:
        kind = type(value)
        return kind is Stub or isinstance(value, type) or _is_function(value) or self._border.shares(kind)

    def _form(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, type):
            if TYPES.get(value.__name__) is value:
                return {"T": value.__name__}
            if self._border.shares(value):
                return {"k": value.__qualname__}
            raise NotPlainData(f"not plain data: the class {value.__name__}")
        if self._border.shares(kind):
            if tuple in kind.__mro__:
                return {"n": [kind.__qualname__, [self.encode(item) for item in tuple.__iter__(value)]]}
            if issubclass(kind, enum.Enum):
                return {"e": [kind.__qualname__, value.name, _plain_form(value)]}
            if _has_plain_layout(kind):
                return {"o": self._add(value)}
        if kind is Stub or _is_function(value):
            return self._border.hand_over(value)
        if is_standard(kind) and not self._border.takes_as_plain(kind):
            return standard_form(value, self.encode)
        raise NotPlainData(f"not plain data: {kind.__name__}")

    def _value(self, tag: Any, payload: Any) -> Any:
        if tag == "T" and type(payload) is str and payload in TYPES:
            return TYPES[payload]
        if tag == "k":
            return self._border.class_named(payload)
        if tag == "o" and type(payload) is int and 0 <= payload < len(self._objects):
            return self._objects[payload]
        if tag == "n":
            name, items = _parts(payload)
            named = self._border.find(name)
            return tuple.__new__(named if named and tuple in named.__mro__ else tuple, map(self.decode, items))
        if tag == "e" and type(payload) is list and len(payload) == 3:
            return self._member(*payload)
        if tag == "F":
            return self._border.builtin(payload)
        if tag == "own":
            return self._border.function(payload)
        if tag == "call":
            return self._border.receive(payload)
        if tag in ("x", "I"):
            return standard_value(tag, payload, self.decode)
        raise NotPlainData(f"bad payload of tag {tag!r}")

    def _member(self, class_name: Any, name: Any, plain: Any) -> Any:
        kind = self._border.find(class_name)
        if kind and issubclass(kind, enum.Enum) and type(name) is str and name in kind.__members__:
            return kind.__members__[name]
        if plain is None:
            raise UnknownClassError(f"there is no enumeration {class_name} with {name} here")
        return self.decode(plain)

    def _add(self, value: Any) -> int:
        if id(value) not in self._numbers:
            if len(self._objects) >= MAX_OBJECTS:
                raise NotPlainData(f"more than {MAX_OBJECTS} objects")
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return self._numbers[id(value)]


def _parts(row: Any) -> tuple[str, list[Any]]:
    if type(row) is list and len(row) == 2 and type(row[0]) is str and type(row[1]) is list:
        return row[0], row[1]
    raise NotPlainData("an object's form is malformed")


def _is_function(value: Any) -> bool:
    """A function, method or what functools and operator make: with no attribute that matters but its call."""
    return type(value).__module__ in _MODULES_OF_FUNCTIONS and callable(value)


def _plain_form(member: enum.Enum) -> Any:
    """Of a member that is an int or str as well; else None."""
    try:
        return encode(as_plain(member))
    except NotPlainData:
        return None


def _has_plain_layout(kind: type) -> bool:
    """Whether all its state is in __dict__ and slots: no list, exception or C type underneath."""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return type(kind) in (type, ABCMeta)


def _new(kind: type[Any]) -> Any:
    if not _has_plain_layout(kind):
        raise NotPlainData(f"objects of class {kind.__name__} cannot be rebuilt")
    return object.__new__(kind)


def _slots(kind: type) -> dict[str, Any]:
    return {
        name: member
        for base in reversed(kind.__mro__)
        for name, member in vars(base).items()
        if type(member) is types.MemberDescriptorType
    }


def _fields(value: Any) -> dict[str, Any]:
    """Not by getattr: a class's own properties and __getattribute__ have no say."""
    fields: dict[str, Any] = {}
    for name, member in _slots(type(value)).items():
        try:
            fields[name] = member.__get__(value)
        except AttributeError:  # never set
            continue
    return {**fields, **_dictionary(value)}


def _set_fields(value: Any, fields: dict[str, Any], *, gone: list[str]) -> None:
    slots, dictionary = _slots(type(value)), _dictionary(value)
    for name in gone:
        if name in slots:
            slots[name].__delete__(value)
        else:
            del dictionary[name]
    for name, field in fields.items():
        if name in slots:
            slots[name].__set__(value, field)
        elif type(name) is str and _is_method(type(value), name):
            raise HiddenMethodError(f"the field {name} hides a method")
        elif type(name) is str and type(value).__dictoffset__:
            dictionary[name] = field
        else:
            raise NotPlainData("an object has no such field")


def _is_method(kind: type, name: str) -> bool:
    """Of any sort: a classmethod is not callable itself, and found after the object's own fields all the same."""
    return any(callable(vars(base).get(name)) or type(vars(base).get(name)) is classmethod for base in kind.__mro__)


def _dictionary(value: Any) -> dict[str, Any]:
    return object.__getattribute__(value, "__dict__") if type(value).__dictoffset__ else {}
