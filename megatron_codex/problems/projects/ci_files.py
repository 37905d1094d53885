"""The command lines of noxfile.py, .travis.yml, GitHub's workflows and hatch's scripts: parsed, never executed.

In: a project's root. Out: Jobs in the order of the files.
"""

from __future__ import annotations

import ast
import re
import shlex
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from megatron_codex.problems.projects.declared import read_toml

_MAX_BYTES = 1 << 20
_EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
_TRAVIS_KEYS = ("before_install", "install", "before_script", "script")


@dataclass(frozen=True, kw_only=True)
class Job:
    """Commands that run one after the other, with what is installed for them: an environment, a session, a job."""

    file: str
    lines: tuple[tuple[str, str], ...]
    """(line of a shell, directory below the root)."""
    requirements: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()


def read_nox(root: Path) -> Iterator[Job]:
    """session.run("pytest", "tests") as `pytest tests`, session.install("x") as `pip install x`."""
    try:
        path = root / "noxfile.py"
        if path.stat().st_size > _MAX_BYTES:
            return
        with tokenize.open(path) as handle:
            tree = ast.parse(handle.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        if not any("session" in ast.unparse(decorator) for decorator in function.decorator_list):
            continue
        lines = []
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            words = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            if words and method in ("run", "run_always"):
                lines.append(shlex.join(words))
            elif words and method == "install":
                lines.append(shlex.join(["pip", "install", *words]))
        yield _job("noxfile.py", lines)


def read_hatch(root: Path) -> Iterator[Job]:
    """The scripts of [tool.hatch.envs.*] whose name has `test`, with the environment's dependencies."""
    environments = _get(read_toml(root / "pyproject.toml"), "tool", "hatch", "envs")
    for table in environments.values() if isinstance(environments, dict) else ():
        scripts = _get(table, "scripts")
        for name, lines in scripts.items() if isinstance(scripts, dict) else ():
            if "test" in name:
                job = _job("pyproject.toml", [re.sub(r"\{args:?([^{}]*)\}", r"\1", line) for line in _lines(lines)])
                needed = [*_lines(_get(table, "dependencies")), *_lines(_get(table, "extra-dependencies"))]
                yield replace(job, requirements=tuple(needed), extras=tuple(_lines(_get(table, "features"))))


def read_travis(root: Path) -> Iterator[Job]:
    """The top level's keys, in each job's place where it has its own."""
    content = _read_yaml(root / ".travis.yml")
    jobs = _get(content, "jobs", "include") or _get(content, "matrix", "include")
    for table in [{}, *(jobs if isinstance(jobs, list) else ())]:
        lines = [line for key in _TRAVIS_KEYS for line in _lines(_get(table, key) or _get(content, key))]
        yield _job(".travis.yml", lines)


def read_workflows(root: Path) -> Iterator[Job]:
    """The `run` steps of each job of .github/workflows, in order."""
    folder = root / ".github" / "workflows"
    for path in sorted(path for pattern in ("*.yml", "*.yaml") for path in folder.glob(pattern)):
        jobs = _get(_read_yaml(path), "jobs")
        for job in jobs.values() if isinstance(jobs, dict) else ():
            steps, lines = _get(job, "steps"), []
            for step in steps if isinstance(steps, list) else ():
                directory = _get(step, "working-directory") or _get(job, "defaults", "run", "working-directory")
                place = directory if isinstance(directory, str) else "."
                lines += [(line, place) for line in _lines(_get(step, "run"))]
            yield Job(file=f".github/workflows/{path.name}", lines=tuple(lines))


def _job(file: str, lines: list[str]) -> Job:
    return Job(file=file, lines=tuple((line, ".") for line in lines))


def _read_yaml(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        return yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None


def _get(content: Any, *keys: str) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _lines(value: Any) -> Iterator[str]:
    for text in [value] if isinstance(value, str) else value if isinstance(value, list) else ():
        if isinstance(text, str):
            yield from (line.strip() for line in _EXPRESSION.sub("", text).replace("\\\n", " ").splitlines())
