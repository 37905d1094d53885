"""How a project runs its own tests: found in its tox, nox, Travis or GitHub files, else by looking for tests.

In: an unpacked project. Out: a TestCommand for the tracer, which says where it was found, and what the project's own
commands install. Nothing of the project is run here.
"""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from megatron_codex.problems.projects.ci_files import Job, read_hatch, read_nox, read_travis, read_workflows
from megatron_codex.problems.projects.command_lines import Step, read_line
from megatron_codex.problems.projects.declared import read_ini, read_toml
from megatron_codex.problems.projects.pytest_words import choose_words
from megatron_codex.problems.projects.requirement_lines import plain_requirements, read_requirements
from megatron_codex.problems.projects.tox_files import read_tox

DISCOVERY = "discovery"
_THIS_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
_UNITTEST_FLAGS = (
    "-v",
    "--verbose",
    "-q",
    "--quiet",
    "-b",
    "--buffer",
    "-f",
    "--failfast",
    "-c",
    "--catch",
    "--locals",
)


@dataclass(frozen=True, kw_only=True)
class TestCommand:
    """runner: the program; arguments: its own, paths below the project's root."""

    __test__ = False  # not one of pytest's own

    runner: Literal["pytest", "unittest"]
    arguments: tuple[str, ...]
    found_in: str
    """A file of the project, or "discovery"."""
    left_out: tuple[str, ...] = ()
    """Words of the project's command that do not decide which tests are run."""
    unsupported: tuple[str, ...] = ()
    """Test programs that the project runs and this does not."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in funnel.json."""
        return {
            "command": shlex.join([self.runner, *self.arguments]),
            "found_in": self.found_in,
            "left_out": list(self.left_out),
            "unsupported": list(self.unsupported),
        }


@dataclass(frozen=True, kw_only=True)
class OwnCommands:
    """command: the first of pytest or unittest on test files, else (doctests of a README, say) the first of these.
    requirements, extras: what is installed for that one."""

    command: TestCommand | None
    unsupported: tuple[str, ...]
    requirements: tuple[str, ...]
    extras: tuple[str, ...]


def read_own_commands(root: Path, *, python: str = _THIS_PYTHON) -> OwnCommands:
    """What the project's own files say, in the order tox, nox, hatch, Travis, GitHub. python: "3.11", ..."""
    found: tuple[Job, TestCommand] | None = None
    other: Job | None = None
    unsupported: list[str] = []
    for job, step in _steps(root, python):
        if step.kind == "unsupported":
            other = other or job
            unsupported.append(shlex.join(step.words))
        elif step.kind != "install" and (found is None or not _names_test_files(found[1], root)):
            candidate = _command(job.file, step, root)
            if candidate is not None and (found is None or _names_test_files(candidate, root)):
                found = job, candidate
    extras: list[str] = []
    chosen = found[0] if found else other
    requirements = _installed_by(chosen, root, extras) if chosen else []
    return OwnCommands(
        command=found[1] if found else None,
        unsupported=tuple(dict.fromkeys(unsupported)),
        requirements=tuple(dict.fromkeys(requirements)),
        extras=tuple(dict.fromkeys(extra for extra in extras if extra)),
    )


def choose_command(root: Path, own: OwnCommands, tests: tuple[str, ...], *, has_pytest: bool) -> TestCommand:
    """The project's own command; without one, the runner that is there, on what its configuration or the files name."""
    if own.command is not None and (own.command.runner == "unittest" or has_pytest):
        return replace(own.command, unsupported=own.unsupported)
    return discover(root, tests, has_pytest=has_pytest, unsupported=own.unsupported)


def discover(root: Path, tests: tuple[str, ...], *, has_pytest: bool, unsupported: tuple[str, ...] = ()) -> TestCommand:
    """tests: the directories and files that look like tests."""
    if not has_pytest:
        return TestCommand(runner="unittest", arguments=tests, found_in=DISCOVERY, unsupported=unsupported)
    added = choose_words(_added_options(root), root)
    return TestCommand(
        runner="pytest",
        arguments=(*added.options, *(_test_paths(root) or tests)),
        found_in=DISCOVERY,
        left_out=tuple(added.left_out),
        unsupported=unsupported,
    )


def _steps(root: Path, python: str) -> Iterator[tuple[Job, Step]]:
    jobs = itertools.chain(
        read_tox(root, python=python), read_nox(root), read_hatch(root), read_travis(root), read_workflows(root)
    )
    for job in jobs:
        for line, directory in job.lines:
            yield from ((job, step) for step in read_line(line, directory=directory))


def _installed_by(job: Job, root: Path, extras: list[str]) -> list[str]:
    """Requirements of the job that runs the tests; its extras of the project are added to extras."""
    extras += job.extras
    requirements: list[str] = []
    for line in job.requirements:
        requirements += _installed(tuple(line.split(maxsplit=1)) if line.startswith("-") else (line,), root, extras)
    for line, directory in job.lines:
        for step in read_line(line, directory=directory):
            requirements += _installed(step.words, root, extras) if step.kind == "install" else []
    return requirements


def _command(file: str, step: Step, root: Path) -> TestCommand | None:
    if step.kind == "unittest":
        words = [word for word in step.words if word not in _UNITTEST_FLAGS]
        if step.directory != ".":
            # Module names hold below that directory only; discovery there finds the same tests.
            words = ["discover", "-s", step.directory]
        return TestCommand(runner="unittest", arguments=tuple(words or ["discover"]), found_in=file)
    chosen, added = choose_words(step.words, root, directory=step.directory), choose_words(_added_options(root), root)
    only_missing = not chosen.paths and any(not word.startswith("-") for word in chosen.left_out)
    if only_missing or not (root / step.directory).is_dir():
        return None  # of paths that are not in this copy of the project, or another directory
    return TestCommand(
        runner="pytest",
        arguments=(*added.options, *chosen.options, *(chosen.paths or _test_paths(root) or (step.directory,))),
        found_in=file,
        left_out=(*chosen.left_out, *added.left_out),
    )


def _names_test_files(command: TestCommand, root: Path) -> bool:
    """Whether there are files called as tests are among those that it runs."""
    if command.runner == "unittest":
        return True
    paths = [root / word.split("::")[0] for word in command.arguments if not word.startswith("-")]
    return any(_is_test_file(path) or (path.is_dir() and any(map(_is_test_file, path.rglob("*.py")))) for path in paths)


def _is_test_file(path: Path) -> bool:
    return path.name.startswith(("test_", "tests.")) or path.name.endswith("_test.py")


def _installed(words: tuple[str, ...], root: Path, extras: list[str]) -> list[str]:
    """Requirements among the words of `pip install`; the extras of the project itself (`.[x]`) are added to extras."""
    found: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in ("-r", "--requirement"):
            found += read_requirements(root, next(rest, ""))
        elif word.startswith("-r"):
            found += read_requirements(root, word.removeprefix("-r"))
        elif word.startswith(".") and word.endswith("]") and "[" in word:
            extras += [extra.strip() for extra in word[word.index("[") + 1 : -1].split(",")]
        elif not word.startswith("-") and not (root / word).exists():
            found += plain_requirements([word])
    return found


def _added_options(root: Path) -> tuple[str, ...]:
    """addopts of the configuration that pytest will read."""
    value = _pytest_settings(root).get("addopts", "")
    try:
        return tuple(shlex.split(value)) if isinstance(value, str) else tuple(str(word) for word in value)
    except ValueError:
        return ()


def _test_paths(root: Path) -> tuple[str, ...]:
    """testpaths of the configuration, patterns expanded, those that are there."""
    value = _pytest_settings(root).get("testpaths", "")
    words = shlex.split(value) if isinstance(value, str) else [str(word) for word in value]
    return tuple(choose_words(tuple(word for word in words if not word.startswith("-")), root).paths)


def _pytest_settings(root: Path) -> dict[str, Any]:
    """The first file that has settings for pytest, in pytest's own order."""
    for name in ("pytest.ini", ".pytest.ini"):
        if (root / name).is_file():
            return _section(root / name, "pytest")
    tool = read_toml(root / "pyproject.toml").get("tool")
    table = tool.get("pytest") if isinstance(tool, dict) else None
    if isinstance(table, dict):
        options = table.get("ini_options", table)
        return options if isinstance(options, dict) else {}
    return _section(root / "tox.ini", "pytest") or _section(root / "setup.cfg", "tool:pytest")


def _section(path: Path, name: str) -> dict[str, Any]:
    parser = read_ini(path)
    return {key: value or "" for key, value in parser[name].items()} if parser.has_section(name) else {}
