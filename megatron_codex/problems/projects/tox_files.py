"""The commands of tox's environments, from tox.ini, setup.cfg or pyproject.toml, their substitutions made.

In: a project's root. Out: a Job for each environment. tox is not run.
"""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_codex.problems.projects.ci_files import Job
from megatron_codex.problems.projects.declared import read_ini, read_toml

_VERSION_FACTOR = re.compile(r"(?<![\w!])py(\d{2,})\b")
_FACTOR = re.compile(r"^[\w,!{}. -]+:\s+(?=\S)")
_SUBSTITUTION = re.compile(r"\{([^{}]*)\}")
_MAX_SUBSTITUTIONS = 200
_HERE = ("toxinidir", "tox_root", "changedir")


def read_tox(root: Path, *, python: str) -> Iterator[Job]:
    """One for each environment of tox.ini, setup.cfg and pyproject.toml. python: "3.11", of the lines to choose."""
    for file in ("tox.ini", "setup.cfg"):
        yield from _of_ini(read_ini(root / file), file, python, prefix="tox:" if file == "setup.cfg" else "")
    tool = read_toml(root / "pyproject.toml").get("tool")
    tox = tool.get("tox") if isinstance(tool, dict) else None
    if isinstance(tox, dict):
        if isinstance(tox.get("legacy_tox_ini"), str):
            parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
            try:
                parser.read_string(tox["legacy_tox_ini"])
            except configparser.Error:
                return
            yield from _of_ini(parser, "pyproject.toml", python, prefix="")
        else:
            yield from _of_tables(tox)


def _of_ini(parser: configparser.ConfigParser, file: str, python: str, *, prefix: str) -> Iterator[Job]:
    base = f"{prefix}testenv"
    sections = [name for name in parser.sections() if name == base or name.startswith(f"{base}:")]
    for section in sorted(sections, key=lambda name: name != base):  # [testenv] first, the others in their order

        def value(key: str, section: str = section) -> str:
            inherited = parser.get(base, key, fallback="") if parser.has_section(base) else ""
            return parser.get(section, key, fallback=inherited) or ""

        directory = _substitute(value("changedir") or value("change_dir"), parser).strip("/ ") or "."
        yield Job(
            file=file,
            lines=tuple((line.lstrip("-! "), directory) for line in _lines(value("commands"), parser, python)),
            requirements=tuple(_lines(value("deps"), parser, python)),
            extras=tuple(value("extras").replace(",", " ").split()),
        )


def _lines(text: str, parser: configparser.ConfigParser, python: str) -> Iterator[str]:
    for line in (line.strip() for line in _substitute(text, parser).replace("\\\n", " ").splitlines()):
        factor = _FACTOR.match(line)
        versions = _VERSION_FACTOR.findall(factor.group()) if factor else []
        rest = line[factor.end() :] if factor else line
        if rest and not rest.startswith("#") and (not versions or python.replace(".", "") in versions):
            yield rest


def _substitute(text: str, parser: configparser.ConfigParser) -> str:
    """{posargs:DEFAULT} is its default, {[section]key} that value, {toxinidir} the root; others are nothing."""
    for _ in range(_MAX_SUBSTITUTIONS):
        match = _SUBSTITUTION.search(text)
        if match is None:
            break
        inside = match.group(1)
        value, referred = "", re.fullmatch(r"\[([^\]]+)\](.+)", inside)
        if inside.startswith("posargs:"):
            value = inside.removeprefix("posargs:")
        elif inside.startswith("env:") and inside.count(":") > 1:
            value = inside.split(":", 2)[2]
        elif inside in _HERE:
            value = "."
        elif inside == "envpython":
            value = "python"
        elif referred:
            value = parser.get(*referred.groups(), fallback="") or ""
        text = text[: match.start()] + value + text[match.end() :]
    return text


def _of_tables(tox: dict[str, Any]) -> Iterator[Job]:
    """tox 4's own tables: commands are lists of words."""
    base = tox.get("env_run_base")
    environments = tox.get("env")
    tables = [base, *(environments.values() if isinstance(environments, dict) else ())]
    for table in (table for table in tables if isinstance(table, dict)):
        merged = {**(base if isinstance(base, dict) else {}), **table}
        commands = merged.get("commands")
        lines = [shlex.join(_words(command)) for command in commands if isinstance(command, list)] if commands else []
        yield Job(
            file="pyproject.toml",
            lines=tuple((line, ".") for line in lines),
            requirements=tuple(_words(merged.get("deps"))),
            extras=tuple(_words(merged.get("extras"))),
        )


def _words(items: Any) -> Iterator[str]:
    for item in items if isinstance(items, list) else ():
        if isinstance(item, str):
            yield _SUBSTITUTION.sub(lambda match: "." if match.group(1) in _HERE else "", item)
        elif isinstance(item, dict) and item.get("replace") == "posargs":
            yield from _words(item.get("default"))
