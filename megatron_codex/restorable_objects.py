"""Objects, functions and classes of a project as tagged JSON: by the names that its modules give them.

In: a value met while a project's tests run. Out: four tags beside those of tagged.py and restorable.py:
    {"m": [module, name]}                       a function, builtin or class that a module holds under this dotted name
    {"E": [module, class, member]}              a member of an enumeration
    {"N": [module, class, [items]]}             a named tuple
    {"O": [module, class, [[field, form] ...]]} an object whose whole state is in its __dict__ and slots
Nothing here runs code of the project: no method, property, __getattr__, __eq__, __repr__ or __reduce__ of its own is
asked. The other way, what no hook finds becomes a Named: who only checks a form needs none of the project's classes.
"""

from __future__ import annotations

import enum
from abc import ABCMeta
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType, GetSetDescriptorType, MemberDescriptorType, MethodDescriptorType
from typing import Any

from megatron_codex.restorable import is_standard, names_of_module, standard_form, standard_parts, standard_value
from megatron_codex.tagged import NotPlainData, decode, encode

_METACLASSES = (type, ABCMeta, enum.EnumMeta)
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodDescriptorType)
_NOT_THE_DEFAULT = ("__reduce__", "__reduce_ex__", "__del__", "__dict__", "__class__")
_NOTHING = object()

Find = Callable[[str, str], Any]
"""What a module and a dotted name stand for on this side. Raises NotPlainData where there is nothing."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a form stands for when its class or function is not at hand. parts: items, or (field, value) pairs."""

    module: str
    name: str
    parts: tuple[Any, ...] = ()

    def __hash__(self) -> int:
        return hash((self.module, self.name))


def encode_restorable(value: Any) -> Any:
    """As tagged.encode, with the forms of restorable.py and of this module. Raises: NotPlainData."""
    return encode(value, _form)


def decode_restorable(form: Any, find: Find | None = None) -> Any:
    """The value of a form. find: none: Named stands in. Raises: NotPlainData for a malformed form."""
    try:
        return decode(form, partial(_value, find=find))
    except RecursionError as error:
        raise NotPlainData("nested too deep") from error


def object_at(module: str, name: str) -> Any:
    """What a module that is imported holds under a dotted name; _NOTHING where there is nothing."""
    return member_at(names_of_module(module), name)


def member_at(names: dict[str, Any], name: str) -> Any:
    """As object_at, of a module's names: what stands in the dictionary of the class itself."""
    first, *others = name.split(".")
    found = dict.get(names, first, _NOTHING)
    for part in others:
        if not _is_one_of(type(found), _METACLASSES):
            return _NOTHING
        private = f"_{found.__name__.lstrip('_')}{part}" if part.startswith("__") else part
        found = vars(found).get(part, vars(found).get(private, _NOTHING))
    return found


def parts_of(value: Any) -> list[Any]:
    """The values that the form of one that is no plain data holds. Raises: NotPlainData where it has no form."""
    way, _ = _way_of(type(value))
    if way == "standard":
        return standard_parts(value)
    if way == "N":
        return list(tuple.__iter__(value))
    return list(fields_of(value).values()) if way == "O" else []


def layout_of(kind: type) -> tuple[list[str], tuple[Any, ...]] | tuple[()] | None:
    """Module and name of a class whose objects have the form "O", and its slots: (name, descriptor).

    (): its objects never have a form. None: they have another one, or none as long as no module holds the class.
    """
    try:
        way, slots = _way_of(kind)
    except NotPlainData:
        return ()
    try:
        return (_place(kind), slots) if way == "O" else None
    except NotPlainData:
        return None


def is_iterator(kind: type) -> bool:
    """Whether a class has __next__, without asking its metaclass."""
    bases = type.__dict__["__mro__"].__get__(kind)
    return any("__next__" in type.__dict__["__dict__"].__get__(base) for base in bases)


def fields_of(value: Any) -> dict[str, Any]:
    """The state of an object of a class with a plain layout, read past its own descriptors. Raises: NotPlainData."""
    kind = type(value)
    fields: dict[str, Any] = {}
    for name, member in _way_of(kind)[1]:
        try:
            fields[name] = member.__get__(value)
        except AttributeError:  # never set
            continue
    if kind.__dictoffset__:
        fields.update(object.__getattribute__(value, "__dict__"))
    if any(type(name) is not str for name in fields):
        raise NotPlainData(f"not plain data: {kind.__name__}")
    return fields


def _way_of(kind: type) -> tuple[str, tuple[Any, ...]]:
    """How values of this class are taken: a tag, "function", "class" or "standard", and the slots of a tag "O".

    Raises: NotPlainData where they have no form.
    """
    if not _is_one_of(type(kind), _METACLASSES):
        raise NotPlainData("an object whose class has a metaclass of its own")
    way, slots = _way_of_class(kind)
    if not way:
        raise NotPlainData(f"not plain data: {kind.__name__}")
    return way, slots


@lru_cache(maxsize=1024)
def _way_of_class(kind: type) -> tuple[str, tuple[Any, ...]]:
    """As _way_of; "" for none."""
    if _is_one_of(kind, _FUNCTIONS):
        return "function", ()
    if _is_one_of(kind, _METACLASSES):
        return "class", ()
    if is_standard(kind):
        return "standard", ()
    if enum.Enum in kind.__mro__:
        return "E", ()
    if tuple in kind.__mro__:
        return ("N" if type(vars(kind).get("_fields")) is tuple else ""), ()
    bases = [base for base in reversed(kind.__mro__) if base is not object]
    own = [vars(base)[name] for base in bases for name in _NOT_THE_DEFAULT if name in vars(base)]
    if not bases or any(type(each) is not GetSetDescriptorType for each in own):
        return "", ()
    try:
        object.__new__(kind)  # refused for what has a list, an exception or another C type underneath
    except TypeError:
        return "", ()
    members = [item for base in bases for item in vars(base).items()]
    return "O", tuple(item for item in members if type(item[1]) is MemberDescriptorType)


def _form(value: Any) -> Any:
    kind = type(value)
    way, _ = _way_of(kind)
    if way == "standard":
        return standard_form(value, encode_restorable)
    if way == "function":
        return _function_form(value)
    if way == "class":
        return {"m": _place(value)}
    if way == "E":
        return {"E": [*_place(kind), _member_name(kind, value)]}
    if way == "N":
        return {"N": [*_place(kind), [encode_restorable(item) for item in tuple.__iter__(value)]]}
    return {"O": [*_place(kind), [[name, encode_restorable(field)] for name, field in fields_of(value).items()]]}


def _member_name(kind: type, value: Any) -> str:
    for name, member in vars(kind).get("_member_map_", {}).items():
        if member is value:
            return str(name)
    raise NotPlainData("not plain data: no member of its enumeration")  # several flags in one


def _is_one_of(kind: type, kinds: tuple[type, ...]) -> bool:
    """Not by `in`, which asks a metaclass for its __eq__."""
    return any(kind is each for each in kinds)


def _function_form(value: Any) -> Any:
    name = value.__qualname__
    module = value.__objclass__.__module__ if type(value) is MethodDescriptorType else value.__module__
    if type(module) is str and type(name) is str and object_at(module, name) is value:
        return {"m": [module, name]}
    raise NotPlainData("not plain data: a function that no module holds under its name")


def _place(kind: type) -> list[str]:
    """Module and dotted name of a class."""
    module, name = kind.__module__, kind.__qualname__
    if type(module) is str and object_at(module, name) is kind:
        return [module, name]
    raise NotPlainData(f"not plain data: the class {name}, which no module holds under its name")


def _value(tag: Any, payload: Any, find: Find | None) -> Any:
    def value_of(form: Any) -> Any:
        return decode(form, partial(_value, find=find))

    if tag not in _LENGTHS:
        return standard_value(tag, payload, value_of)
    if type(payload) is not list or len(payload) != _LENGTHS[tag] or not type(payload[0]) is type(payload[1]) is str:
        raise NotPlainData(f"bad payload of tag {tag!r}")
    module, name, *content = payload
    parts = _parts(tag, content[0], value_of) if content else ()
    if find is None:
        named = object_at(module, name) if module == "builtins" else _NOTHING
        return Named(module=module, name=name, parts=parts) if named is _NOTHING else named
    found = find(module, name)
    return found if tag == "m" else _restore(tag, found, parts)


_LENGTHS = {"m": 2, "E": 3, "N": 3, "O": 3}


def _parts(tag: str, content: Any, value_of: Callable[[Any], Any]) -> tuple[Any, ...]:
    if tag == "E":
        if type(content) is not str:
            raise NotPlainData("a member of an enumeration has no name")
        return (content,)
    if type(content) is not list:
        raise NotPlainData("parts of an object are malformed")
    if tag == "N":
        return tuple([value_of(item) for item in content])
    if any(type(row) is not list or len(row) != 2 or type(row[0]) is not str for row in content):
        raise NotPlainData("fields of an object are malformed")
    return tuple([(name, value_of(field)) for name, field in content])


def _restore(tag: str, kind: Any, parts: tuple[Any, ...]) -> Any:
    if not _is_one_of(type(kind), _METACLASSES):
        raise NotPlainData("an object is of what is no class here")
    if tag == "E":
        if parts[0] not in vars(kind).get("_member_map_", {}):
            raise NotPlainData(f"the enumeration {kind.__name__} has no {parts[0]}")
        return vars(kind)["_member_map_"][parts[0]]
    if tag == "N":
        return tuple.__new__(kind, parts)
    made = object.__new__(kind)
    for name, field in parts:
        object.__setattr__(made, name, field)
    return made
