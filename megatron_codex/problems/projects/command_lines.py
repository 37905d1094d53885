"""One line of a shell, read as text: does it run pytest or unittest, another test program, or pip?

In: a line of a project's continuous integration. Out: Steps. Nothing is executed, and no shell is asked.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PYTHON = re.compile(r"(.*/)?(python|pypy)[\d.]*(\.exe)?|py|\{envpython\}|\$\{?PYTHON\}?")
_PYTHON_VALUE_OPTIONS = ("-W", "-X")
_LAUNCHERS = {
    **dict.fromkeys(("time", "nice", "sudo", "exec", "command", "env", "xvfb-run", "travis_retry", "travis_wait"), 0),
    **dict.fromkeys(("uv", "poetry", "pdm", "hatch", "pipenv", "rye", "pixi", "conda", "micromamba"), 1),
}
"""Programs that start the next word, after so many words of their own (`uv run pytest`)."""
_LAUNCHER_VALUE_OPTIONS = ("--group", "--extra", "--with", "--python", "-p", "-e", "--env", "-n", "--name")
_COVERAGE_VALUE_OPTIONS = ("--source", "--include", "--omit", "--rcfile", "--context", "--data-file", "--concurrency")
_OTHER_RUNNERS = (
    "nosetests",
    "nose2",
    "nose",
    "trial",
    "zope-testrunner",
    "ward",
    "green",
    "stestr",
    "testr",
    "behave",
)
_OTHER_MODULES = ("nose", "nose2", "twisted.trial", "zope.testrunner", "ward", "green", "test", "doctest")

StepKind = Literal["pytest", "unittest", "unsupported", "install"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """words: the arguments; of an unsupported runner, the whole command."""

    kind: StepKind
    words: tuple[str, ...]
    directory: str = "."
    """Below the project's root."""


def read_line(line: str, *, directory: str = ".") -> Iterator[Step]:
    """What a line does, in order; `cd x && pytest` changes the directory of what follows it."""
    for words in _commands(line):
        if words[0] == "cd" and len(words) > 1:
            directory = words[1] if directory == "." else f"{directory}/{words[1]}"
            continue
        step = _step(words, directory)
        if step is not None:
            yield step


def _commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if set(word) <= set(";&|"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)
    except ValueError:  # an open quote
        return
    if words:
        yield words


def _step(words: list[str], directory: str) -> Step | None:
    whole = tuple(words)
    for _ in range(8):  # sudo env X=1 uv run coverage run -m pytest ...
        while words and _ASSIGNMENT.match(words[0]):
            words = words[1:]
        if not words:
            return None
        program, rest = words[0].rsplit("/", 1)[-1], words[1:]
        if program in ("pytest", "py.test"):
            return Step(kind="pytest", words=tuple(rest), directory=directory)
        if program in _OTHER_RUNNERS:
            return Step(kind="unsupported", words=whole, directory=directory)
        if program in ("pip", "pip3"):
            return _install(rest, directory)
        if program == "coverage":
            words = _after_coverage(rest)
        elif _PYTHON.fullmatch(words[0]):
            module, rest = _after_python(rest)
            if module in ("unittest", "unittest.__main__"):
                return Step(kind="unittest", words=tuple(rest), directory=directory)
            if module in _OTHER_MODULES or (rest[:1] and rest[0].endswith(".py") and "test" in " ".join(rest)):
                return Step(kind="unsupported", words=whole, directory=directory)
            words = [module, *rest] if module else []
        elif program in _LAUNCHERS:
            if program == "uv" and rest[:1] == ["pip"]:
                return _install(rest[1:], directory)
            words = _skip_options(rest[_LAUNCHERS[program] :], _LAUNCHER_VALUE_OPTIONS)
        else:
            return None
    return None


def _install(words: list[str], directory: str) -> Step | None:
    return Step(kind="install", words=tuple(words[1:]), directory=directory) if words[:1] == ["install"] else None


def _after_python(words: list[str]) -> tuple[str, list[str]]:
    """(module of -m, its arguments); ("", the script and its arguments)."""
    while words and words[0].startswith("-"):
        if words[0].endswith("m") and not words[0].startswith("--"):  # -m, -bm
            return words[1] if words[1:] else "", words[2:]
        words = words[2:] if words[0] in _PYTHON_VALUE_OPTIONS else words[1:]
    return "", words


def _after_coverage(words: list[str]) -> list[str]:
    """`run -m pytest tests` -> `pytest tests`; [] for a script and for other commands."""
    if words[:1] != ["run"]:
        return []
    words = words[1:]
    while words and words[0].startswith("-"):
        if words[0] in ("-m", "--module"):
            return ["python", "-m", *words[1:]]
        words = words[2:] if words[0] in _COVERAGE_VALUE_OPTIONS else words[1:]
    return ["python", *words]


def _skip_options(words: list[str], with_value: tuple[str, ...]) -> list[str]:
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in with_value else words[1:]
    return words
