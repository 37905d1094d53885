"""YAML and `section.key=value` to a frozen config dataclass, with every fault reported at once; and back.

In: a dataclass (sections are nested dataclasses), a YAML file, overrides. Out: an instance, or a ConfigError that lists
all faults with dotted paths. pydantic is used here only, to check and convert types.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from megatron_codex.config.yaml_text import parse_value, parse_yaml
from megatron_codex.errors import MISSING, ConfigError, Fault, InputError
from megatron_codex.files import atomic_file, require_file

C = TypeVar("C")
Tree = dict[str, Any]

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}
_UNITS = {"_minutes": "minutes", "_s": "seconds", "_gb": "gigabytes", "_mb": "megabytes", "_bytes": "bytes"}
_RULES = {"missing": "is required", "unexpected_keyword_argument": "is not a known key"}


def load_config(cls: type[C], path: Path | str | None = None, overrides: Sequence[str] = ()) -> C:
    """Read `path` (YAML), apply `section.key=value` overrides in order, check everything, build the config.

    Raises: InputError when the file or an override cannot be read; ConfigError with all faults at once.
    """
    tree = read_yaml(path) if path is not None else {}
    for override in overrides:
        apply_override(tree, override)
    return build_config(cls, tree, source=str(path) if path is not None else "")


def build_config(cls: type[C], tree: Mapping[str, Any], *, source: str = "") -> C:
    """Build `cls` from nested mappings. source: file name put before each fault.

    A faulty field hides, in one pass, the rules of every section above it. So the build is repeated with a stand-in for
    each field found faulty until nothing new is found; rules that read such a field are passed over.
    """
    adapter = TypeAdapter(with_config(ConfigDict(extra="forbid"))(cls))
    remaining = _copy_tree(tree)
    faults: list[Fault] = []
    found: set[str] = set()
    forced: set[str] = set()
    while True:
        try:
            config = adapter.validate_python(remaining)
            break
        except ValidationError as error:
            reported = list(_faults_of(error, cls, remaining))
            fresh = [fault for fault in reported if fault.field not in found]
            readable = [fault for fault in fresh if not found.intersection(fault.others)]
            faults.extend(readable)
            # A default that is itself faulty (required unless another field is given) needs some value in its place.
            stubborn = {fault.field for fault in reported} & found - forced
            if not fresh and not stubborn:
                break
            for fault in fresh:
                _stand_in(cls, remaining, fault.field)
            for field in stubborn:
                _stand_in(cls, remaining, field, required=True)
            found.update(fault.field for fault in fresh)
            forced |= stubborn
    if faults:
        raise ConfigError(faults, source)
    return config


def config_to_dict(config: Any) -> Tree:
    """A config dataclass as plain YAML-able values: paths as strings, tuples as lists, enums by value."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def save_config(config: Any, path: Path | str) -> None:
    """Write the resolved config as YAML, atomically; load_config reads it back to an equal object."""
    with atomic_file(path, "w") as handle:
        yaml.safe_dump(config_to_dict(config), handle, sort_keys=False, allow_unicode=True, width=120)


def read_yaml(path: Path | str) -> Tree:
    """The mapping in a YAML file. Raises InputError naming file and line when it is not one."""
    path = require_file(path, "a YAML configuration")
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(where, rule=f"not valid YAML ({problem})", remedy="mend the file") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(str(path), rule="must be a mapping of sections", remedy="write `section:` lines with keys")
    return tree


def merge_tree(tree: Tree, other: Mapping[str, Any]) -> None:
    """Put the values of another mapping into `tree`: its sections are joined, its other values win.

    >>> tree = {"optimizer": {"lr": 1.0}, "task": "base"}; merge_tree(tree, {"optimizer": {"min_lr": 0.0}}); tree
    {'optimizer': {'lr': 1.0, 'min_lr': 0.0}, 'task': 'base'}
    """
    for key, value in other.items():
        mine = tree.get(key)
        if isinstance(mine, dict) and isinstance(value, Mapping):
            merge_tree(mine, value)
        else:
            tree[key] = value


def apply_override(tree: Tree, override: str) -> None:
    """Set one `section.key=value` in a nested mapping; the value is read as YAML.

    >>> tree = {}; apply_override(tree, "optimizer.lr=2e-3"); tree
    {'optimizer': {'lr': 0.002}}
    """
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise InputError(override, rule="is not of the form section.key=value", remedy="for example optimizer.lr=2e-3")
    try:
        value = parse_value(text)
    except yaml.YAMLError as error:
        raise InputError(override, rule="the value is not valid YAML", remedy="quote the value") from error
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict):
            raise InputError(override, rule=f"{key!r} is a value, not a section", remedy="check the dotted path")
        node = child
    node[keys[-1]] = value


def kind_in_words(kind: Any) -> str:
    """What a field of this type takes: "a whole number", "a path or a list (each item a path)"."""
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, choices))
    if get_origin(kind) is tuple:
        return f"a list (each item {kind_in_words(choices[0])})"
    if choices:
        return " or ".join(kind_in_words(choice) for choice in choices)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    if dataclasses.is_dataclass(kind):
        return "a section (keys and values)"
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _faults_of(error: ValidationError, cls: type[Any], tree: Tree) -> Iterable[Fault]:
    mistyped: set[str] = set()
    for detail in error.errors():
        path = ".".join(str(part) for part in detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, ConfigError):
            for fault in cause.faults:
                yield dataclasses.replace(
                    fault, field=_join(path, fault.field), others=tuple(_join(path, other) for other in fault.others)
                )
            continue
        kind = detail["type"]
        if kind in _RULES or cause is not None:
            value = MISSING if kind == "missing" else detail["input"]
            yield Fault(field=path, value=value, rule=_RULES.get(kind) or str(cause), remedy=_remedy(cls, path, kind))
            continue
        # Of a value that is none of the types its field takes, pydantic tells each type; here it is one fault.
        field = _owner(cls, path)
        if field not in mistyped:
            mistyped.add(field)
            owner, _, key = field.rpartition(".")
            hint = get_type_hints(_section(cls, owner.split(".") if owner else ()))[key]
            value = _at(tree, field)
            yield Fault(
                field=field, value=value, rule=f"must be {kind_in_words(hint)}", remedy=_remedy(cls, field, kind)
            )


def _remedy(cls: type[Any], path: str, kind: str) -> str:
    if kind == "missing":
        return f"give {path}=... or the key in the YAML file"
    if kind == "unexpected_keyword_argument":
        *sections, key = path.split(".")
        section = _section(cls, sections)
        names = [field.name for field in dataclasses.fields(section)] if dataclasses.is_dataclass(section) else []
        close = get_close_matches(key, names, n=1)
        return f"did you mean {_join('.'.join(sections), close[0])}?" if close else f"known keys: {', '.join(names)}"
    unit = next((unit for suffix, unit in _UNITS.items() if path.endswith(suffix)), None)
    return "change this value" if unit is None else f"give it in {unit}"


def _at(tree: Tree, path: str) -> Any:
    node: Any = tree
    for key in path.split("."):
        node = node[key]
    return node


def _owner(cls: type[Any], path: str) -> str:
    """The path cut to the config field that holds it (a fault inside a tuple is a fault of its field)."""
    kept: list[str] = []
    section: Any = cls
    for part in path.split("."):
        kept.append(part)
        section = _section(section, [part])
        if not dataclasses.is_dataclass(section):
            break
    return ".".join(kept)


def _section(cls: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not dataclasses.is_dataclass(cls):
            return None
        hint = get_type_hints(cls).get(key)
        cls = next((kind for kind in (hint, *get_args(hint)) if dataclasses.is_dataclass(kind)), None)
    return cls


def _stand_in(cls: type[Any], tree: Tree, path: str, *, required: bool = False) -> None:
    """Put a field's default (or, when it is required, some value of its type) where a faulty value was."""
    *sections, key = path.split(".")
    owner = _section(cls, sections)
    node: Any = tree
    for section in sections:
        node = node.setdefault(section, {})
    node.pop(key, None)
    fields = {field.name: field for field in dataclasses.fields(owner)}
    if key in fields and (required or _is_required(fields[key])):
        node[key] = _some_value(get_type_hints(owner)[key])


def _some_value(kind: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return {
            field.name: _some_value(get_type_hints(kind)[field.name])
            for field in dataclasses.fields(kind)
            if _is_required(field)
        }
    choices = get_args(kind)
    if get_origin(kind) is tuple:
        return ()
    if choices:
        return choices[0] if not isinstance(choices[0], type) else _some_value(choices[0])
    return {int: 1, float: 1.0, bool: False}.get(kind, "x")


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, field: str) -> str:
    return ".".join(part for part in (path, field) if part)


def _copy_tree(tree: Mapping[str, Any]) -> Tree:
    return {key: _copy_tree(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return config_to_dict(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
