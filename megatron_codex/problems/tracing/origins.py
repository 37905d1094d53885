"""Where a code object comes from: the project, a distribution that it depends on, the standard library, or elsewhere.

In: the file that a code object names. Out: (origin, file relative to it), or None where its calls are not wanted.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

PROJECT, STDLIB, DEPENDENCIES = "project", "stdlib", "dependencies"
LIBRARIES = (DEPENDENCIES, STDLIB)

_TEST_DIRECTORIES = {"test", "tests", "testing", "doc", "docs", "examples", "benchmarks"}
_TEST_FILES = {"conftest.py", "setup.py", "tests.py", "test.py"}
_RUNNERS = {"pytest", "_pytest", "pluggy", "iniconfig", "hypothesis", "coverage", "megatron_codex", "unittest", "pip"}
"""What runs the tests, and we ourselves."""


class Origins:
    """libraries: which of LIBRARIES are wanted besides the project's own functions."""

    def __init__(self, root: str, libraries: Collection[str] = ()) -> None:
        self._project = os.path.realpath(root) + os.sep
        self._libraries = libraries
        paths = sysconfig.get_paths()
        self._stdlib = os.path.realpath(paths["stdlib"]) + os.sep
        self._packages = tuple(
            {os.path.realpath(each) + os.sep for each in (paths["purelib"], paths["platlib"], *_site_directories())}
        )
        self._own = str(Path(__file__).resolve().parent) + os.sep
        self._places: dict[str, tuple[str, str] | None] = {}
        self._names: dict[str, str] | None = None
        # A suite may put others in their place, or change to a directory that is gone afterwards.
        self._realpath = os.path.realpath

    def of_file(self, name: str) -> tuple[str, str] | None:
        """name: a code object's co_filename."""
        if name not in self._places:
            self._places[name] = self._find(name)
        return self._places[name]

    def _find(self, name: str) -> tuple[str, str] | None:
        if name.startswith("<"):  # <string>, <frozen os>: made by exec, or the interpreter's own
            return None
        path = self._realpath(name)
        if path.startswith(self._project):
            file = path[len(self._project) :]
            return None if is_test_file(file) else (PROJECT, file)
        if not self._libraries or path.startswith(self._own):
            return None
        for directory in self._packages:
            if path.startswith(directory):
                return self._in_package(path[len(directory) :])
        if STDLIB in self._libraries and path.startswith(self._stdlib):
            file = path[len(self._stdlib) :]
            return (STDLIB, file) if _is_wanted(file) else None
        return None

    def _in_package(self, file: str) -> tuple[str, str] | None:
        if DEPENDENCIES not in self._libraries or not _is_wanted(file):
            return None
        if self._names is None:
            self._names = _distributions()
        package = file.partition(os.sep)[0].removesuffix(".py")
        return self._names.get(package, package), file


def is_test_file(file: str) -> bool:
    """Whether a path inside a project belongs to its tests, documentation or set-up, not to its library."""
    *directories, name = Path(file).parts
    if name in _TEST_FILES or name.startswith("test_") or name.endswith("_test.py"):
        return True
    return not _TEST_DIRECTORIES.isdisjoint(directories)


def _is_wanted(file: str) -> bool:
    return file.partition(os.sep)[0].removesuffix(".py") not in _RUNNERS and not is_test_file(file)


def _site_directories() -> list[str]:
    """Directories of PYTHONPATH and the like that hold distributions."""
    return [each for each in sys.path if each and any(Path(each).glob("*.dist-info"))]


def _distributions() -> dict[str, str]:
    """Top-level package -> "name version" of the distribution that brings it."""
    names = {}
    for package, distributions in metadata.packages_distributions().items():
        names[package] = f"{distributions[0]} {metadata.version(distributions[0])}"
    return names
