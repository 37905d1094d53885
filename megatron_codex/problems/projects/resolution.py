"""Requirements to packages that fit together and all have wheels; what cannot be had is named, and left out.

In: requirement strings, most important first. Out: a Resolution. pip decides; here it is only asked again with less
when it finds no answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from megatron_codex.files import atomic_file
from megatron_codex.problems.projects.interpreter import Interpreter
from megatron_codex.problems.projects.pip_command import PackageIndex, PipFailedError, UnreachableIndexError, run_pip
from megatron_codex.problems.projects.requirement_lines import parse

_NOT_FOUND = re.compile(r"No matching distribution found for (\S+)")
_CONFLICT = re.compile(r"Cannot install (.+) because these package versions have conflicting dependencies")
WHEELS_ONLY = ("--only-binary", ":all:")


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """packages: (name, version), sorted. dropped: requirement -> why it is not among them. loosened: requirement -> the
    same without its version bounds, which nothing met."""

    packages: tuple[tuple[str, str], ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    loosened: dict[str, str] = field(default_factory=dict)


def resolve(requirements: Sequence[str], interpreter: Interpreter, index: PackageIndex, cache: Path) -> Resolution:
    """From the cache where the same was asked before: a run that goes on, or is repeated, has the same packages.

    Raises: UnreachableIndexError.
    """
    wheels = sorted(path.name for folder in index.wheels for path in folder.iterdir())
    question = json.dumps([list(requirements), interpreter.tag, wheels])
    path = cache / "resolved" / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        packages = tuple((name, version) for name, version in known["packages"])
        return Resolution(packages=packages, dropped=known["dropped"], loosened=known["loosened"])
    resolution = _Search(interpreter, index).run(list(requirements))
    with atomic_file(path, "w") as handle:
        json.dump({"question": question, **asdict(resolution)}, handle, indent=1)
    return resolution


class _Search:
    """Asks pip for all; then without what it does not find, or what conflicts; else for one after the other."""

    def __init__(self, interpreter: Interpreter, index: PackageIndex) -> None:
        self._interpreter, self._index = interpreter, index
        self._dropped: dict[str, str] = {}
        self._loosened: dict[str, str] = {}

    def run(self, requirements: list[str]) -> Resolution:
        wanted = {requirement: requirement for requirement in requirements}
        while wanted:
            try:
                return self._result(self._ask(list(wanted.values())))
            except UnreachableIndexError:
                raise
            except PipFailedError as error:
                if not self._give_way(wanted, str(error)):
                    return self._result(self._one_by_one(wanted))
        return self._result(())

    def _result(self, packages: tuple[tuple[str, str], ...]) -> Resolution:
        return Resolution(packages=packages, dropped=self._dropped, loosened=self._loosened)

    def _give_way(self, wanted: dict[str, str], said: str) -> bool:
        """Loosen, then drop, those that pip does not find, or the last of those that conflict; False: it names none."""
        found, conflict = _NOT_FOUND.search(said), _CONFLICT.search(said)
        words = re.split(r",? and |, ", conflict.group(1)) if conflict else [found.group(1)] if found else []
        names = {canonicalize_name(each.name) for each in map(parse, words) if each is not None}
        named = [text for text, asked in wanted.items() if _name(asked) in names]
        if conflict:
            loose = [text for text in named if wanted[text] != _bare(wanted[text])]
            named = (loose or named)[-1:]
        for text in named:
            bare = _bare(wanted[text])
            if wanted[text] != bare:
                wanted[text] = self._loosened[text] = bare
            else:
                del wanted[text]
                self._loosened.pop(text, None)
                self._dropped[text] = said
        return bool(named)

    def _one_by_one(self, wanted: dict[str, str]) -> tuple[tuple[str, str], ...]:
        kept: list[str] = []
        packages: tuple[tuple[str, str], ...] = ()
        for text, asked in wanted.items():
            for attempt in dict.fromkeys((asked, _bare(asked))):
                try:
                    packages = self._ask([*kept, attempt])
                except UnreachableIndexError:
                    raise
                except PipFailedError as error:
                    self._dropped[text] = str(error)
                else:
                    kept.append(attempt)
                    self._dropped.pop(text, None)
                    if attempt != text:
                        self._loosened[text] = attempt
                    break
        return packages

    def _ask(self, requirements: list[str]) -> tuple[tuple[str, str], ...]:
        arguments = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", *WHEELS_ONLY]
        interpreter = None if self._interpreter.is_own else self._interpreter.executable
        report = run_pip([*arguments, *self._index.options, *requirements], interpreter=interpreter)
        install = json.loads(report)["install"]
        return tuple(
            sorted((canonicalize_name(item["metadata"]["name"]), item["metadata"]["version"]) for item in install)
        )


def _bare(text: str) -> str:
    requirement = parse(text)
    assert requirement is not None
    return f"{requirement.name}[{','.join(sorted(requirement.extras))}]" if requirement.extras else requirement.name


def _name(text: str) -> str:
    requirement = parse(text)
    assert requirement is not None
    return canonicalize_name(requirement.name)
