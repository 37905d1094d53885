"""Compiled modules and generated files of a project, made by its own build system inside the sandbox.

In: a project that lacks them, an environment with what its build system needs. Out: the files of the wheel that it
builds, put where they are missing in the project. A project without such parts is not built.
"""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from megatron_codex.problems.project import BrokenProjectError, Project, plain_zip_members, write_members
from megatron_codex.problems.projects.declared import read_toml
from megatron_codex.problems.projects.environment import Environment
from megatron_codex.sandbox.project_run import OUTPUT_IN_JAIL, run_project

_COMPILING_BACKENDS = ("mesonpy", "scikit_build_core.build", "maturin", "setuptools_rust", "py_build_cmake.build")
_COMPILED = re.compile(r"\b(ext_modules|cffi_modules|rust_extensions|libraries)\s*=|ext-modules|mypycify\(|cythonize\(")
_GENERATED = re.compile(r"\b(?:write_to|version_file|version-file)\b[\"']?\s*[:=]\s*[\"']([^\"'\n]+)[\"']")
_NO_WHEEL = "the build left no wheel"
_MAX_DETAIL_CHARS = 300
_BUILD = f"""
import importlib, os, sys
backend, paths = sys.argv[1], sys.argv[2:]
sys.path[:0] = [os.path.abspath(path) for path in paths]
module, _, attributes = backend.partition(":")
hooks = importlib.import_module(module)
for attribute in filter(None, attributes.split(".")):
    hooks = getattr(hooks, attribute)
os.mkdir("{OUTPUT_IN_JAIL}/wheel")
hooks.build_wheel("{OUTPUT_IN_JAIL}/wheel", {{}})
"""


def why_build(project: Project) -> str:
    """What of the project has to be made first: "compiled modules", the file that is generated; "" when nothing."""
    backend, _ = _build_system(project.root)
    texts = [_text(project.root / name) for name in ("pyproject.toml", "setup.py", "setup.cfg")]
    if backend in _COMPILING_BACKENDS or any(map(_COMPILED.search, texts)):
        return "compiled modules"
    for name in (name for text in texts for name in _GENERATED.findall(text)):
        if not any((project.root / directory / name).is_file() for directory in project.import_roots):
            return str(name)
    return next(_missing_modules(project), "")


def build_project(
    project: Project, environment: Environment, workspace: Path, *, timeout_s: float, memory_bytes: int
) -> None:
    """Build a wheel in the sandbox and add what the project lacks. Raises: BrokenProjectError ("build failed")."""
    backend, paths = _build_system(project.root)
    version = project.metadata.version
    # There is no history in the sandbox that a version could be read from.
    versions = (
        "SETUPTOOLS_SCM_PRETEND_VERSION",
        "PDM_BUILD_SCM_VERSION",
        "PBR_VERSION",
        "UV_DYNAMIC_VERSIONING_BYPASS",
    )
    run = run_project(
        [str(environment.python), "-P", "-B", "-c", _BUILD, backend, *paths],
        project=project.root,
        read_only=environment.shown,
        environment={**dict.fromkeys(versions, version), "POETRY_DYNAMIC_VERSIONING_BYPASS": version},
        output=workspace,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
    )
    wheel = next((path for path in run.output_files if path.suffix == ".whl"), None)
    if wheel is None:
        said = run.stdout.decode(errors="replace").strip().splitlines()
        detail = said[-1] if said and run.verdict.verdict == "error" else run.verdict.detail or _NO_WHEEL
        raise BrokenProjectError("build failed", detail[:_MAX_DETAIL_CHARS])
    add_wheel(wheel, project.root, project.import_roots)


def add_wheel(wheel: Path, root: Path, import_roots: tuple[str, ...]) -> None:
    """Put a wheel's files below the import root that has their package; what is there already stays as it is.

    Raises: BrokenProjectError ("broken archive", "too large").
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            write_members(_placed(plain_zip_members(archive), root, import_roots), root, replace=False)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise BrokenProjectError("broken archive", f"{wheel.name}: {error}") from error


def _build_system(root: Path) -> tuple[str, list[str]]:
    """(build-backend, backend-path) of pyproject.toml, or setuptools' own default. Source: PEP 517."""
    system = read_toml(root / "pyproject.toml").get("build-system")
    table = system if isinstance(system, dict) else {}
    paths = table.get("backend-path")
    named = [str(path) for path in paths] if isinstance(paths, list) else []
    return str(table.get("build-backend") or "setuptools.build_meta:__legacy__"), named


def _placed(
    members: Iterator[tuple[str, IO[bytes]]], root: Path, import_roots: tuple[str, ...]
) -> Iterator[tuple[str, IO[bytes]]]:
    for name, content in members:
        parts = PurePosixPath(name).parts
        if parts[0].endswith(".data"):
            continue  # scripts and headers
        home = next((path for path in reversed(import_roots) if (root / path / parts[0]).exists()), import_roots[-1])
        if parts[0].endswith(".dist-info"):
            home = "."
        yield name if home == "." else f"{home}/{name}", content


def _missing_modules(project: Project) -> Iterator[str]:
    """Modules that a package's __init__.py imports from itself without condition, and that are not there."""
    for path in (path for root in project.import_roots for path in sorted((project.root / root).glob("*/__init__.py"))):
        try:
            tree = ast.parse(_text(path))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                name = node.module.split(".")[0]
                if not any(path.parent.glob(f"{name}.*")) and not (path.parent / name).is_dir():
                    yield (path.parent / f"{name}.py").relative_to(project.root).as_posix()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
