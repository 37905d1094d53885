"""From what the user named to a suite that can be run: unpacked, its environment made, missing parts built.

In: a ProjectSource and the settings. Out: a Project; then a Suite, and what there is to say about it in funnel.json.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems.project import BrokenProjectError, Project, open_project
from megatron_codex.problems.projects.build import add_wheel, build_project, why_build
from megatron_codex.problems.projects.declared import Declared, read_declared
from megatron_codex.problems.projects.environment import Environment, bare_environment, make_environment
from megatron_codex.problems.projects.index_download import fetch_sdist
from megatron_codex.problems.projects.interpreter import Interpreter, find_interpreter
from megatron_codex.problems.projects.pip_command import PackageIndex, PipFailedError
from megatron_codex.problems.projects.sources import ProjectSource
from megatron_codex.problems.projects.suite import Suite
from megatron_codex.problems.projects.test_commands import choose_command, discover, read_own_commands

logger = logging.getLogger(__name__)

PYTEST = "pytest>=7"
"""What the tracer's plugin works with; a project that pins an older one is given this."""


def fetch_project(source: ProjectSource, workspace: Path, config: TraceConfig) -> Project:
    """Unpack it below workspace; a wheel without tests is joined with the sdist of its version.

    Raises: BrokenProjectError.
    """
    if source.path is None:
        if not config.install:
            raise BrokenProjectError("no such project", f"{source.requirement}: --no-install fetches nothing by name")
        path = fetch_sdist(source.requirement, config.cache_directory, PackageIndex(wheels=config.wheels))
    else:
        path = source.path
    try:
        return open_project(path, workspace / "unpacked")
    except BrokenProjectError as error:
        if path.suffix != ".whl" or error.reason != "no tests":
            raise
        project = open_project(_sdist_of(path, config), workspace / "sdist")
        add_wheel(path, project.root, project.import_roots)
        return project


def prepare_suite(project: Project, workspace: Path, config: TraceConfig) -> tuple[Suite, dict[str, Any]]:
    """The suite, and its facts: environment, runner, build."""
    interpreter = find_interpreter(config.python)
    own = read_own_commands(project.root, python=f"{interpreter.version[0]}.{interpreter.version[1]}")
    declared = read_declared(project.root, extras=own.extras, installed=own.requirements)
    environment = _environment([PYTEST, *declared.chosen(dict(interpreter.markers))], project, interpreter, config)
    build = _build(project, declared, interpreter, workspace, config)
    command = choose_command(project.root, own, project.tests, has_pytest=environment.has_pytest)
    suite = Suite(environment=environment, command=command)
    return suite, {"environment": environment.to_json(), "runner": command.to_json(), "build": build}


def plainer_suite(project: Project, suite: Suite) -> Suite | None:
    """The same with the tests found by their names, after the project's own command; None where that was the same."""
    command = discover(project.root, project.tests, has_pytest=suite.environment.has_pytest)
    if not command.arguments or (command.runner, command.arguments) == (suite.command.runner, suite.command.arguments):
        return None
    return Suite(environment=suite.environment, command=command)


def _environment(
    requirements: list[str], project: Project, interpreter: Interpreter, config: TraceConfig
) -> Environment:
    if not config.install:
        return bare_environment(interpreter, {})
    index = PackageIndex(wheels=config.wheels)
    try:
        name = project.metadata.name
        environment = make_environment(requirements, interpreter, index, config.cache_directory, without=name)
    except PipFailedError as error:
        logger.warning("%s: nothing is installed for it: %s", project.name, error)
        return bare_environment(interpreter, dict.fromkeys(requirements, str(error)))
    for requirement, reason in environment.dropped.items():
        logger.info("%s: %s is not installed: %s", project.name, requirement, reason)
    return environment


def _build(
    project: Project, declared: Declared, interpreter: Interpreter, workspace: Path, config: TraceConfig
) -> dict[str, str]:
    """What was to be built, and what became of it; a suite is tried without what cannot be built."""
    why = why_build(project)
    if not why:
        return {}
    needed = declared.chosen_build(dict(interpreter.markers))
    environment = _environment(needed, project, interpreter, config)
    workspace = workspace / "build"
    try:
        build_project(project, environment, workspace, timeout_s=config.timeout_s, memory_bytes=config.memory_bytes)
    except BrokenProjectError as error:
        logger.info("%s: %s was not built: %s", project.name, why, error.detail)
        return {"needed_for": why, "result": f"failed: {error.detail}"}
    return {"needed_for": why, "result": "done"}


def _sdist_of(wheel: Path, config: TraceConfig) -> Path:
    """The sdist of a wheel's name and version: beside it, else from the index."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as error:
        raise BrokenProjectError("no tests", f"none in the wheel, and its name is no wheel's: {error}") from error
    for path in sorted(wheel.parent.glob("*.tar.gz")) + sorted(wheel.parent.glob("*.zip")):
        stem = path.name.removesuffix(".tar.gz").removesuffix(".zip")
        if stem.replace("_", "-").replace(".", "-").lower() == f"{name}-{version}".replace(".", "-").lower():
            return path
    if not config.install:
        raise BrokenProjectError("no tests", f"none in the wheel, and no sdist of {name} {version} lies beside it")
    return fetch_sdist(f"{name}=={version}", config.cache_directory, PackageIndex(wheels=config.wheels))
