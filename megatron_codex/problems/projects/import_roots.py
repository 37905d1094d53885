"""The directories of a project from which its packages are imported: what PYTHONPATH has to name.

In: a project's root and name. Out: paths below the root: ".", "src" where there is one, where its build configuration
says that packages lie, and else where a package of the project's name is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from megatron_codex.problems.projects.declared import read_ini, read_toml
from megatron_codex.problems.projects.requirement_lines import is_inside
from megatron_codex.problems.projects.setup_py import setup_arguments

_MAX_DEPTH = 3


def find_import_roots(root: Path, name: str) -> tuple[str, ...]:
    """name: the project's, as its metadata has it."""
    named = [directory for directory in _configured(root) if directory]
    usual = [".", *(["src"] if (root / "src").is_dir() else [])]
    found = list(dict.fromkeys([*usual, *(path for path in map(str, map(Path, named)) if _is_below(root, path))]))
    module = re.sub(r"[-.]+", "_", name).lower()
    if len(found) == len(usual) and not any(_has_module(root / path, module) for path in found):
        found += _elsewhere(root, module)
    return tuple(found)


def _configured(root: Path) -> Iterator[str]:
    content, config, setup = read_toml(root / "pyproject.toml"), read_ini(root / "setup.cfg"), setup_arguments(root)
    tool = _dict(content.get("tool"))
    setuptools = _dict(tool.get("setuptools"))
    yield from _texts(_dict(setuptools.get("package-dir")).get(""))
    yield from _texts(_dict(_dict(setuptools.get("packages")).get("find")).get("where"))
    packages = _dict(tool.get("poetry")).get("packages")
    for item in packages if isinstance(packages, list) else ():
        yield from _texts(_dict(item).get("from"))
    yield from _texts(_dict(_dict(tool.get("pdm")).get("build")).get("package-dir"))
    yield from _texts(_dict(setup.get("package_dir")).get(""))
    yield config.get("options.packages.find", "where", fallback="").strip()
    for line in config.get("options", "package_dir", fallback="").splitlines():
        key, _, value = line.partition("=")
        if not key.strip():
            yield value.strip()


def _elsewhere(root: Path, module: str) -> list[str]:
    """The parent of the first package of that name, the least deep one."""
    found = [path for path in root.rglob(module) if (path / "__init__.py").is_file()]
    found = [path for path in found if len(path.relative_to(root).parts) <= _MAX_DEPTH]
    nearest = min(found, key=lambda path: (len(path.parts), path), default=None)
    return [] if nearest is None else [nearest.parent.relative_to(root).as_posix()]


def _has_module(directory: Path, module: str) -> bool:
    names = {path.name.lower() for path in directory.iterdir()}
    return module in names or f"{module}.py" in names


def _is_below(root: Path, path: str) -> bool:
    return path != "." and not path.startswith("/") and is_inside(root / path, root) and (root / path).is_dir()


def _texts(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
