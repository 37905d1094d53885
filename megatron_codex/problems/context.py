"""What a function needs around it to run alone: imports of the standard library, constants, helpers, in one text.

In: a module-level function of a project. Out: its context, or NotExtractedError saying what stands in the way. Names
are followed through the project's own imports. Whether the text really works is not decided here: the replay does that.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from megatron_codex.problems.free_names import (
    ALWAYS_THERE,
    WritesGlobalError,
    attributes_of,
    bound_names,
    imports_in,
    needed_names,
)
from megatron_codex.problems.functions import FunctionNode, join_context, statement_source, without_docstrings
from megatron_codex.problems.modules import ProjectModules, SourceModule


class NotExtractedError(Exception):
    """Why a function cannot stand alone: a short reason, counted in the funnel, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


_TOO_LONG = "context too long"

Named = tuple[str, SourceModule]
"""A name, and the module that binds it."""


@dataclass(frozen=True, kw_only=True)
class ContextLimits:
    """third_party: the packages besides the standard library that may be imported."""

    max_lines: int
    third_party: Collection[str] = ()


def build_context(
    statement: FunctionNode | ast.ClassDef,
    module: SourceModule,
    modules: ProjectModules,
    limits: ContextLimits,
    *,
    also: Sequence[Named] = (),
) -> str:
    """The text that goes before the function, or before the class that ends in the method.

    Where it would be too long, helpers come without their docstrings. also: names that the tests use beside it.
    Raises: NotExtractedError.
    """
    try:
        return _gather(statement, module, _Gathering(modules, limits), also)
    except NotExtractedError as error:
        if error.reason != _TOO_LONG:
            raise
        return _gather(statement, module, _Gathering(modules, limits, docstrings=False), also)


def _gather(
    statement: FunctionNode | ast.ClassDef, module: SourceModule, gathering: _Gathering, also: Sequence[Named]
) -> str:
    gathering.start(statement, module)
    for name, other in also:
        gathering.need(name, other, statement)
    return gathering.text()


def gather_names(names: Sequence[Named], modules: ProjectModules, limits: ContextLimits) -> str:
    """Source that defines these names, whose modules are not run otherwise. Raises: NotExtractedError."""
    gathering = _Gathering(modules, limits)
    for name, module in names:
        gathering.need(name, module, ast.Pass())
    return gathering.text()


class _Gathering:
    """Pieces in the order of their need: what a piece uses when it is run comes before it."""

    def __init__(self, modules: ProjectModules, limits: ContextLimits, *, docstrings: bool = True) -> None:
        """docstrings: whether helpers keep theirs."""
        self._docstrings = docstrings
        self._modules = modules
        self._limits = limits
        self._seen: set[int] = set()
        self._owners: dict[str, object] = {}
        self._itself: Named | None = None
        self._namespaces: dict[str, set[str]] = {}
        self._followed: set[Named] = set()
        self._plain_imports: set[str] = set()
        self._from_imports: dict[str, set[str]] = {}
        self._pieces: list[str] = []
        self._future_annotations = False

    def start(self, statement: FunctionNode | ast.ClassDef, module: SourceModule) -> None:
        """With the statement that comes after the context, and is no part of it."""
        self._seen.add(id(statement))
        self._owners[statement.name] = statement
        self._itself = (statement.name, module)
        self.follow(statement, module)

    def text(self) -> str:
        imports = ["from __future__ import annotations"] if self._future_annotations else []
        imports += sorted(self._plain_imports)
        for module, names in sorted(self._from_imports.items()):
            imports.append(f"from {module} import {', '.join(sorted(names))}")
        namespaces = [
            f"{name} = SimpleNamespace({', '.join(f'{attribute}={attribute}' for attribute in sorted(attributes))})"
            for name, attributes in sorted(self._namespaces.items())
        ]
        return join_context(["\n".join(imports), *self._pieces, "\n".join(namespaces)])

    def follow(self, statement: ast.stmt, module: SourceModule) -> None:
        """Gather everything that one statement needs."""
        for inner in imports_in(statement):
            self._check_inner_import(inner, module)
        self._future_annotations = self._future_annotations or module.future_annotations
        try:
            needed = needed_names(statement, skip_annotations=module.future_annotations)
        except WritesGlobalError as error:
            raise NotExtractedError("writes a global", str(error)) from error
        for name in sorted(needed):
            self.need(name, module, statement)

    def need(self, name: str, module: SourceModule, user: ast.stmt) -> None:
        """user: the statement in which the name stands."""
        if (name, module) == self._itself:
            return
        for statement in module.bindings.get(name, ()):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._need_import(name, statement, module, user)
            else:
                self._add(statement, module)
        if name not in module.bindings:
            if self._need_through_star(name, module, user):
                return
            if name not in ALWAYS_THERE:
                raise NotExtractedError("unresolved name", f"{name} in {module.name}")
            self._claim(name, "built in")

    def _need_through_star(self, name: str, module: SourceModule, user: ast.stmt) -> bool:
        """A name that comes by `from .other import *`, if it comes at all."""
        for star in module.star_imports:
            other = self._modules.named(module.absolute(star))
            if other is not None and not name.startswith("_") and name in other.bindings:
                self.need(name, other, user)
                return True
        return False

    def _need_import(
        self, name: str, statement: ast.Import | ast.ImportFrom, module: SourceModule, user: ast.stmt
    ) -> None:
        alias = next(alias for alias in statement.names if name == (alias.asname or alias.name.split(".")[0]))
        if isinstance(statement, ast.Import):
            ours = self._modules.named(alias.name if alias.asname else name)
            if ours is not None:
                self._need_module(name, ours, user)
                return
            self._check_standard(alias.name)
            self._claim(name, f"import {alias.name if alias.asname else name}")
            self._plain_imports.add(ast.unparse(ast.Import(names=[alias])))
            return
        source = module.absolute(statement)
        other = self._modules.named(source) if self._modules.is_ours(source) else None
        if other is None:
            self._check_standard(source)
            self._claim(name, f"from {source} import {alias.name}")
            self._from_imports.setdefault(source, set()).add(ast.unparse(alias))
            return
        inner = self._modules.named(f"{other.name}.{alias.name}")
        if inner is not None and all(each is statement for each in other.bindings.get(alias.name, ())):
            self._need_module(name, inner, user)
            return
        if (alias.name, other) in self._followed:  # modules that import each other
            return
        self._followed.add((alias.name, other))
        self.need(alias.name, other, user)
        self._followed.remove((alias.name, other))
        if name != alias.name:
            renaming = f"{name} = {alias.name}"
            self._claim(name, renaming)
            if renaming not in self._pieces:
                self._pieces.append(renaming)

    def _need_module(self, name: str, other: SourceModule, user: ast.stmt) -> None:
        """A module of the project: a namespace of those of its names that are taken from it stands in."""
        attributes = attributes_of(name, user)
        if attributes is None or any((each, other) == self._itself for each in attributes):
            raise NotExtractedError("uses a project module", other.name)
        self._claim(name, other)
        self._from_imports.setdefault("types", set()).add("SimpleNamespace")
        self._claim("SimpleNamespace", "from types import SimpleNamespace")
        self._namespaces.setdefault(name, set()).update(attributes)
        for attribute in sorted(attributes):
            self.need(attribute, other, user)

    def _add(self, statement: ast.stmt, module: SourceModule) -> None:
        if id(statement) in self._seen:
            return
        self._seen.add(id(statement))
        for name in bound_names(statement):
            self._claim(name, module)
        self.follow(statement, module)
        piece = statement_source(module.source, statement)
        self._pieces.append(piece if self._docstrings else without_docstrings(piece))
        if sum(piece.count("\n") for piece in self._pieces) > self._limits.max_lines:
            raise NotExtractedError(_TOO_LONG, f"more than {self._limits.max_lines} lines")

    def _claim(self, name: str, owner: object) -> None:
        """owner: the module, for what it defines itself; the function under test; the text of an import."""
        if self._owners.setdefault(name, owner) != owner:
            raise NotExtractedError("one name for two things", name)

    def _check_inner_import(self, inner: ast.Import | ast.ImportFrom, module: SourceModule) -> None:
        for name in [module.absolute(inner)] if isinstance(inner, ast.ImportFrom) else [a.name for a in inner.names]:
            self._check_standard(name)

    def _check_standard(self, name: str) -> None:
        if self._modules.is_ours(name):
            raise NotExtractedError("uses a project module", name)
        if name.split(".")[0] not in sys.stdlib_module_names.union(self._limits.third_party):
            raise NotExtractedError("imports a third-party package", name)
