"""The modules of an unpacked project as source: which statement binds which name, what an import leads to.

In: a project's root. Out: SourceModules, read and parsed once, never imported.
"""

from __future__ import annotations

import ast
import tokenize
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from megatron_codex.problems.free_names import bound_names
from megatron_codex.problems.functions import NotSplit, parse_source
from megatron_codex.problems.tracing.origins import is_test_file

_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceModule:
    """One file. bindings: name -> the statements that bind it, in order."""

    name: str
    """Dotted, as it is imported."""
    is_package: bool
    source: str
    tree: ast.Module
    bindings: dict[str, list[ast.stmt]] = field(default_factory=dict)
    star_imports: list[ast.ImportFrom] = field(default_factory=list)
    future_annotations: bool = False

    def absolute(self, statement: ast.ImportFrom) -> str:
        """The dotted name of the module that `from ... import` names."""
        if not statement.level:
            return statement.module or ""
        package = self.name.split(".") if self.is_package else self.name.split(".")[:-1]
        base = package[: len(package) - statement.level + 1]
        return ".".join([*base, *([statement.module] if statement.module else [])])


class ProjectModules:
    """The modules of one project."""

    def __init__(self, root: Path, import_roots: tuple[str, ...]) -> None:
        self._roots = [root / directory for directory in import_roots]
        self._root = root
        self._known: dict[str, SourceModule | None] = {}
        self._of_tests: dict[str, SourceModule | None] = {}

    def of_file(self, file: str) -> SourceModule | None:
        """The module of a file below the root; None when there is no such file or it is no Python."""
        path = self._root / file
        # Longest first: src/pkg/x.py is pkg.x, not src.pkg.x.
        for import_root in sorted(self._roots, key=lambda directory: -len(directory.parts)):
            if path.is_relative_to(import_root):
                parts = PurePosixPath(path.relative_to(import_root).with_suffix("").as_posix()).parts
                return self.named(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        return None

    def named(self, name: str) -> SourceModule | None:
        """The project's module of a dotted name; None when the project has none of it."""
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def of_tests(self, name: str) -> SourceModule | None:
        """The module of a dotted name, also where the test runner alone puts its directory on the path."""
        if not all(part.isidentifier() for part in name.split(".")):
            return None
        pattern = name.replace(".", "/") + ".py"
        if self.named(name) is None and is_test_file(pattern) and name not in self._of_tests:
            files = [path for path in sorted(self._root.rglob(pattern)) if self._is_readable(path)]
            self._of_tests[name] = _parse(name, files[0]) if len(files) == 1 else None
        return self.named(name) or self._of_tests.get(name)

    def is_ours(self, name: str) -> bool:
        """Whether a dotted name leads into the project."""
        top = name.split(".")[0]
        return any((root / top).is_dir() or (root / f"{top}.py").is_file() for root in self._roots)

    def _read(self, name: str) -> SourceModule | None:
        parts = name.split(".")
        for root in self._roots:
            for path in (root.joinpath(*parts, "__init__.py"), root.joinpath(*parts).with_suffix(".py")):
                if self._is_readable(path):
                    return _parse(name, path)
        return None

    def _is_readable(self, path: Path) -> bool:
        inside = path.resolve().is_relative_to(self._root.resolve())
        return inside and path.is_file() and path.stat().st_size <= _MAX_FILE_BYTES


def _parse(name: str, path: Path) -> SourceModule | None:
    try:
        with tokenize.open(path) as handle:
            source = handle.read()
        module = SourceModule(
            name=name, is_package=path.name == "__init__.py", source=source, tree=parse_source(source)
        )
    except (NotSplit, SyntaxError, UnicodeDecodeError, LookupError):
        return None
    future = False
    for statement in module.tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            future = future or any(alias.name == "annotations" for alias in statement.names)
            continue
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            module.star_imports.append(statement)
        for bound in bound_names(statement):
            module.bindings.setdefault(bound, []).append(statement)
    object.__setattr__(module, "future_annotations", future)
    return module
