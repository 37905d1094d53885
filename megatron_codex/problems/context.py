"""What a function needs around it to run alone: imports of the standard library, constants, helpers, in one text.

In: a module-level function of a project. Out: its context, or NotExtractedError saying what stands in the way. Names
are followed through the project's own imports. Whether the text really works is not decided here: the replay does that.
"""

from __future__ import annotations

import ast
import sys

from megatron_codex.problems.free_names import ALWAYS_THERE, WritesGlobalError, bound_names, imports_in, needed_names
from megatron_codex.problems.functions import FunctionNode, join_context, statement_source
from megatron_codex.problems.modules import ProjectModules, SourceModule


class NotExtractedError(Exception):
    """Why a function cannot stand alone: a short reason, counted in the funnel, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def build_context(function: FunctionNode, module: SourceModule, modules: ProjectModules, *, max_lines: int) -> str:
    """The text that goes before the function. Raises: NotExtractedError."""
    gathering = _Gathering(function, module, modules, max_lines)
    gathering.follow(function, module)
    return gathering.text()


class _Gathering:
    """Pieces in the order of their need: what a piece uses when it is run comes before it."""

    def __init__(self, function: FunctionNode, module: SourceModule, modules: ProjectModules, max_lines: int) -> None:
        self._modules = modules
        self._max_lines = max_lines
        self._seen = {id(function)}
        self._owners: dict[str, object] = {function.name: function}
        self._itself = (function.name, module)
        self._plain_imports: set[str] = set()
        self._from_imports: dict[str, set[str]] = {}
        self._pieces: list[str] = []
        self._future_annotations = False

    def text(self) -> str:
        imports = ["from __future__ import annotations"] if self._future_annotations else []
        imports += sorted(self._plain_imports)
        for module, names in sorted(self._from_imports.items()):
            imports.append(f"from {module} import {', '.join(sorted(names))}")
        return join_context(["\n".join(imports), *self._pieces])

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
            if (name, module) != self._itself:
                self._need(name, module)

    def _need(self, name: str, module: SourceModule) -> None:
        for statement in module.bindings.get(name, ()):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._need_import(name, statement, module)
            else:
                self._add(statement, module)
        if name not in module.bindings and name not in ALWAYS_THERE:
            self._need_through_star(name, module)

    def _need_through_star(self, name: str, module: SourceModule) -> None:
        """A name that comes by `from .other import *`, if it comes at all."""
        for star in module.star_imports:
            other = self._modules.named(module.absolute(star))
            if other is not None and not name.startswith("_") and name in other.bindings:
                self._need(name, other)
                return
        raise NotExtractedError("unresolved name", f"{name} in {module.name}")

    def _need_import(self, name: str, statement: ast.Import | ast.ImportFrom, module: SourceModule) -> None:
        alias = next(alias for alias in statement.names if name == (alias.asname or alias.name.split(".")[0]))
        if isinstance(statement, ast.Import):
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
        if alias.name not in other.bindings and self._modules.named(f"{other.name}.{alias.name}"):
            raise NotExtractedError("uses a project module", f"{other.name}.{alias.name}")
        self._need(alias.name, other)
        if name != alias.name:
            renaming = f"{name} = {alias.name}"
            self._claim(name, renaming)
            if renaming not in self._pieces:
                self._pieces.append(renaming)

    def _add(self, statement: ast.stmt, module: SourceModule) -> None:
        if id(statement) in self._seen:
            return
        self._seen.add(id(statement))
        for name in bound_names(statement):
            self._claim(name, module)
        self.follow(statement, module)
        self._pieces.append(statement_source(module.source, statement))
        if sum(piece.count("\n") for piece in self._pieces) > self._max_lines:
            raise NotExtractedError("context too long", f"more than {self._max_lines} lines")

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
        if name.split(".")[0] not in sys.stdlib_module_names:
            raise NotExtractedError("imports a third-party package", name)
