"""A config dataclass as a command line: flags, help texts and defaults all come from the dataclass.

In: a config dataclass whose fields carry attribute docstrings. Out: an instance, built from --config YAML files, then
`section.key=value`, then flags (the most specific wins), with all faults reported at once.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from megatron_codex.config.load import Tree, apply_override, build_config, merge_tree, read_yaml
from megatron_codex.errors import InputError

C = TypeVar("C")

_OVERRIDE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*=")


def parse_command(
    cls: type[C],
    argv: Sequence[str] | None = None,
    *,
    description: str = "",
    positional: str = "",
    aliases: Mapping[str, Sequence[str]] | None = None,
    program: str | None = None,
) -> C:
    """Read a command's arguments (default: sys.argv) into `cls`.

    Every field that is not a section becomes a flag: `num_samples` -> --num-samples; a tuple takes several values or
    one comma list; a bool takes --x / --no-x. Sections are set by YAML or `section.key=value`.
    positional: a field that may be given without its flag, too. aliases: further flags of fields, other tools' names.
    program: whose arguments these are, for messages; None: this process's.
    Raises: InputError for an unknown or malformed argument, ConfigError for faulty values.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    names = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    overrides = [arg for arg in argv if _OVERRIDE.match(arg) and re.split(r"[.=]", arg)[0] in names]
    parser = _parser(cls, description, aliases or {}, program)
    if positional:
        text = f"the same as --{positional.replace('_', '-')}"
        parser.add_argument("positional", nargs="?", metavar=positional.upper(), help=text)
    arguments = parser.parse_args([arg for arg in argv if arg not in overrides])
    tree: Tree = {}
    for path in arguments.config:
        merge_tree(tree, read_yaml(path))
    for override in overrides:
        apply_override(tree, override)
    for name in names:
        if hasattr(arguments, name):
            tree[name] = getattr(arguments, name)
    if hasattr(arguments, "positional"):
        if hasattr(arguments, positional):
            raise InputError(positional, value=arguments.positional, rule="is given twice", remedy="give it once")
        tree[positional] = arguments.positional
    return build_config(cls, tree, source=" + ".join(arguments.config))


def field_docs(cls: type[Any]) -> dict[str, str]:
    """Each field's docstring: the string literal that follows it in the class's source (base classes first)."""
    docs: dict[str, str] = {}
    for base in reversed([kind for kind in cls.__mro__ if dataclasses.is_dataclass(kind)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, doc in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str):
                docs[field.target.id] = " ".join(doc.value.value.split())
    return docs


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise InputError(self.prog, rule=message, remedy="see --help")


def _parser(
    cls: type[Any], description: str, aliases: Mapping[str, Sequence[str]], program: str | None
) -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog=program,
        description=description or (inspect.getdoc(cls) or "").split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        epilog="Every value may also come from --config YAML or be given as section.key=value. "
        "Exit codes: 0 done, 1 the work failed, 2 bad input.",
    )
    help_text = "file with any of these values and sections; given several times, later files add to earlier ones"
    parser.add_argument("--config", metavar="YAML", action="append", default=[], help=help_text)
    hints, docs = get_type_hints(cls), field_docs(cls)
    for field in dataclasses.fields(cls):
        help_text = docs.get(field.name, "").replace("%", "%%")
        kind = _without_none(hints[field.name])
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            _describe_section(parser, field.name, kind)
        else:
            flags = ("--" + field.name.replace("_", "-"), *aliases.get(field.name, ()))
            parser.add_argument(*flags, dest=field.name, help=help_text + _default_text(field), **_flag_options(kind))
    return parser


def _flag_options(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is tuple:
        return {"nargs": "+", "action": _CommaList, "metavar": "VALUE"}
    choices = [str(choice) for choice in get_args(kind)] if not isinstance(kind, type) else []
    return {"choices": choices} if choices else {"metavar": getattr(kind, "__name__", "VALUE").upper()}


class _CommaList(argparse.Action):
    """Several values, or one comma list (`--k 1,10,100`), for fields of numbers; paths are never split."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        numbers = len(values) == 1 and re.fullmatch(r"[-+0-9.eE]+(,[-+0-9.eE]+)+", values[0])
        # SUPPRESS leaves no earlier value; a repeated flag adds to the first (`--input a --input b`).
        earlier = getattr(namespace, self.dest, [])
        setattr(namespace, self.dest, [*earlier, *(values[0].split(",") if numbers else values)])


def _describe_section(parser: argparse.ArgumentParser, name: str, kind: type[Any]) -> None:
    docs = field_docs(kind)
    keys = (f"{name}.{key.name}: {docs.get(key.name, '')}{_default_text(key)}" for key in dataclasses.fields(kind))
    parser.add_argument_group(f"section {name}", "; ".join(keys).replace("%", "%%"))


def _default_text(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        return " (required)"
    return f" (default: {'none' if default is None or default == () else default})".replace("%", "%%")


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kinds = [item for item in get_args(kind) if item is not NoneType]
        return kinds[0] if len(kinds) == 1 else kind
    return kind
