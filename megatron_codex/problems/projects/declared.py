"""What a project says that it and its tests need: read from its files, none of which is run.

In: a project's root, what its own test commands install. Out: requirement strings in a fixed order, each once.
Sources: pyproject.toml (PEP 621, PEP 735, Poetry, Flit), setup.cfg, setup.py, PKG-INFO and egg-info, requirements
files; tox.ini and the `pip install` lines of its continuous integration come from test_commands.py.
"""

from __future__ import annotations

import configparser
import email.parser
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from megatron_codex.problems.projects.poetry import poetry_requirements
from megatron_codex.problems.projects.requirement_lines import parse, plain_requirements, read_requirements
from megatron_codex.problems.projects.setup_py import setup_arguments

TEST_EXTRAS = ("test", "tests", "testing", "dev")
_REQUIREMENT_FILE = re.compile(
    r"((?P<kind>[a-z]+)[-_.])?(requirements?|reqs?)([-_.](?P<what>[a-z]+))?\.(txt|pip|in)", re.IGNORECASE
)
_REQUIREMENT_FOLDERS = (".", "requirements", "reqs", "tests", "test", "requires")
_OF_TESTS = ("test", "tests", "testing", "dev", "develop", "development", "ci", "tox", "pytest", "base", "all", "local")
_METADATA = ("PKG-INFO", "*.dist-info/METADATA", "*.egg-info/PKG-INFO", "src/*.egg-info/PKG-INFO")
_REQUIRES_TXT = ("*.egg-info/requires.txt", "src/*.egg-info/requires.txt")
_EXTRA = re.compile(r"(?:\band\s+)?\bextra\s*==\s*['\"]([^'\"]+)['\"](?:\s+and\b)?")
_NOT_FOR_TESTS = re.compile(
    r"tox(-.*)?|nox|pre-commit|twine|build|bump.*|black|ruff|flake8.*|pycodestyle|pylint.*|mypy|pyright|isort|bandit"
    r"|sphinx.*|furo|mkdocs.*|pdoc|.*-sphinx-theme|invoke|codecov|coveralls|check-manifest|pip-tools|uv|pip|ipdb|ipython"
    r"|pyupgrade|autopep8|yapf|pydocstyle|wheel|jupyter.*|notebook|cibuildwheel|towncrier|commitizen|interrogate"
    r"|pytest-(cov|xdist|randomly|random-order|black|flake8|mypy.*|ruff|checkdocs|enabler|isort|pylint|watch|sugar|html)"
)
"""Formatters, linters, builders of documents and releases, and plugins that only check style, count lines or change the
order of tests: no test imports them, and some bring a hundred packages along."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """runtime, tests: requirement strings as the project has them, markers included. build: of its build system."""

    runtime: tuple[str, ...]
    tests: tuple[str, ...]
    build: tuple[str, ...]

    def chosen(self, markers: Mapping[str, str]) -> list[str]:
        """What to install where these markers hold (packaging.markers.Environment), without what tests do not need."""
        kept = [text for text in (*self.runtime, *self.tests) if _applies(text, markers)]
        needed = {_name(text) for text in self.runtime}
        return list(
            dict.fromkeys(
                _without_marker(text)
                for text in kept
                if _name(text) in needed or not _NOT_FOR_TESTS.fullmatch(_name(text))
            )
        )

    def chosen_build(self, markers: Mapping[str, str]) -> list[str]:
        """What to install to build the project."""
        return list(dict.fromkeys(_without_marker(text) for text in self.build if _applies(text, markers)))


def read_declared(root: Path, *, extras: Iterable[str] = (), installed: Iterable[str] = ()) -> Declared:
    """extras: which the project's own commands install (`pip install .[x]`), besides the usual ones. installed:
    requirements that its own commands install."""
    wanted = (*TEST_EXTRAS, *(name for name in extras if name not in TEST_EXTRAS))
    content, setup = read_toml(root / "pyproject.toml"), setup_arguments(root)
    config = read_ini(root / "setup.cfg")
    runtime = [*_pyproject(content, root, ()), *_setup_py(setup, "install_requires"), *_setup_cfg(config, root, ())]
    tests = [
        *_pyproject(content, root, wanted),
        *_setup_py(setup, "tests_require"),
        *_setup_py(setup, "extras_require", wanted),
        *_setup_cfg(config, root, wanted),
        *(line for name in _requirement_files(root) for line in read_requirements(root, name)),
        *installed,
    ]
    for extra, line in _metadata(root):
        (tests if extra else runtime).extend([line] if not extra or extra in wanted else [])
    build = _table(content, "build-system").get("requires", ["setuptools", "wheel"])
    return Declared(
        runtime=_each_once(runtime),
        tests=_each_once(tests),
        build=_each_once([*_strings(build), *_setup_py(setup, "setup_requires")]),
    )


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file; empty where there is none, or it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}


def read_ini(path: Path) -> configparser.ConfigParser:
    """An INI file; empty where there is none, or it cannot be read."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        parser.read_string(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, configparser.Error):
        return configparser.ConfigParser(interpolation=None)
    return parser


def _requirement_files(root: Path) -> Iterator[str]:
    """requirements.txt, test-requirements.txt, requirements_dev.txt, requirements/tests.txt, ...: those for tests."""
    for folder in _REQUIREMENT_FOLDERS:
        names = sorted(path.name for path in (root / folder).glob("*") if path.suffix in (".txt", ".pip", ".in"))
        for name in names:
            match = _REQUIREMENT_FILE.fullmatch(name)
            words = [match["kind"], match["what"]] if match else [Path(name).stem]
            inside = folder in ("requirements", "reqs", "requires")
            of_tests = all(word is None or word.lower() in _OF_TESTS for word in words)
            pinned_beside = name.endswith(".in") and f"{Path(name).stem}.txt" in names
            if (match or inside) and of_tests and not pinned_beside:
                yield name if folder == "." else f"{folder}/{name}"


def _pyproject(content: dict[str, Any], root: Path, extras: tuple[str, ...]) -> Iterator[str]:
    """Without extras what the project needs, with extras what these and the groups of their names need."""
    project, dynamic = _table(content, "project"), _table(content, "tool", "setuptools", "dynamic")
    flit = _table(content, "tool", "flit", "metadata")
    if not extras:
        yield from _strings(project.get("dependencies"))
        yield from _files_of(dynamic.get("dependencies"), root)
        yield from _strings(flit.get("requires"))
    for extra in extras:
        yield from _strings(_table(project, "optional-dependencies").get(extra))
        yield from _files_of(_table(dynamic, "optional-dependencies").get(extra), root)
        yield from _strings(_table(flit, "requires-extra").get(extra))
        yield from _group(_table(content, "dependency-groups"), extra, set())
    yield from poetry_requirements(_table(content, "tool", "poetry"), extras)


def _group(groups: dict[str, Any], name: str, met: set[str]) -> Iterator[str]:
    """PEP 735: strings, and {include-group = "other"}."""
    if name in met:
        return
    met.add(name)
    items = groups.get(name)
    yield from _strings(items)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and isinstance(item.get("include-group"), str):
            yield from _group(groups, item["include-group"], met)


def _files_of(entry: Any, root: Path) -> Iterator[str]:
    files = entry.get("file") if isinstance(entry, dict) else None
    for name in [files] if isinstance(files, str) else _strings(files):
        yield from read_requirements(root, name)


def _setup_py(arguments: dict[str, Any], keyword: str, extras: tuple[str, ...] = ()) -> Iterator[str]:
    value = arguments.get(keyword)
    if keyword == "extras_require":
        for extra in extras:
            yield from _lines(value.get(extra) if isinstance(value, dict) else None)
    else:
        yield from _lines(value)


def _setup_cfg(config: configparser.ConfigParser, root: Path, extras: tuple[str, ...]) -> Iterator[str]:
    values = [config.get("options", "install_requires", fallback="")]
    if extras:
        values = [config.get("options", "tests_require", fallback="")]
        values += [config.get("options.extras_require", extra, fallback="") for extra in extras]
    for value in values:
        if value and value.startswith("file:"):
            for name in value.removeprefix("file:").split(","):
                yield from read_requirements(root, name.strip())
        else:
            yield from _lines(value)


def _metadata(root: Path) -> Iterator[tuple[str, str]]:
    """(extra, "" for none; requirement) of what an earlier build of the project wrote down."""
    for path in sorted(path for pattern in _METADATA for path in root.glob(pattern)):
        message = email.parser.Parser().parsestr(path.read_text(encoding="utf-8", errors="replace"), headersonly=True)
        for text in message.get_all("Requires-Dist", []):
            named = _EXTRA.search(str(text))
            yield named.group(1) if named else "", _EXTRA.sub("", str(text)).rstrip("; ")
    for path in sorted(path for pattern in _REQUIRES_TXT for path in root.glob(pattern)):
        extra = marker = ""
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("["):
                extra, _, marker = line.strip("[] ").partition(":")
            elif line.strip():
                yield extra, f"{line.strip()} ; {marker}" if marker else line.strip()


def _lines(value: Any) -> Iterator[str]:
    yield from value.splitlines() if isinstance(value, str) else _strings(value)


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _table(content: Any, *names: str) -> dict[str, Any]:
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}


def _each_once(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plain_requirements(line for line in lines if line.strip())))


def _applies(text: str, markers: Mapping[str, str]) -> bool:
    marker = _parsed(text).marker
    return marker is None or marker.evaluate({**markers, "extra": ""})


def _without_marker(text: str) -> str:
    requirement = _parsed(text)
    requirement.marker = None
    return str(requirement)


def _name(text: str) -> str:
    return canonicalize_name(_parsed(text).name)


def _parsed(text: str) -> Requirement:
    requirement = parse(text)
    assert requirement is not None, text
    return requirement
