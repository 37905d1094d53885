"""The words of a pytest command: those that decide which tests there are and how they are imported are kept.

In: words, the project's root. Out: Words. Left out is what only reports, spreads tests over processes, counts coverage,
or needs a plugin of which nothing is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from megatron_codex.problems.projects.requirement_lines import is_inside

_PATH_OPTIONS = ("--ignore", "--rootdir", "--confcutdir", "-c", "--config-file")
_KEPT_WITH_VALUE = (
    *_PATH_OPTIONS,
    *("-k", "-m", "--ignore-glob", "--deselect", "--import-mode", "--doctest-glob", "--doctest-encoding"),
    *("-p", "-o", "--override-ini", "--asyncio-mode"),
)
_KEPT_FLAGS = ("--doctest-modules", "--doctest-ignore-import-errors", "--pyargs", "--noconftest")
_LEFT_OUT_WITH_VALUE = (
    *("--cov", "--cov-report", "--cov-config", "--cov-fail-under", "--cov-context", "-n", "--numprocesses", "--dist"),
    *("--junitxml", "--junit-xml", "--junit-prefix", "--maxfail", "--tb", "--durations", "--durations-min", "-W"),
    *("--pythonwarnings", "--basetemp", "--timeout", "--color", "-r", "--log-level", "--log-file", "--log-cli-level"),
    *("--hypothesis-profile", "--hypothesis-seed", "--reruns", "--html", "--capture", "--verbosity", "--count"),
    *("--randomly-seed", "--splits", "--group", "--tx", "--cache-dir", "--show-capture", "--code-highlight"),
)


@dataclass(frozen=True)
class Words:
    """paths: test files, directories and node ids below the root (of --pyargs: names of packages)."""

    options: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def choose_words(words: tuple[str, ...], root: Path, *, directory: str = ".") -> Words:
    """directory: below the root, where the command is run."""
    chosen = Words()
    pyargs = "--pyargs" in words
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        option, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            found = [word] if pyargs else _paths(word, root, directory)
            chosen.paths.extend(found)
            chosen.left_out.extend([] if found else [word])
        elif option not in _KEPT_WITH_VALUE and option[:2] in ("-k", "-m", "-p", "-c", "-o"):
            chosen.options.extend([option[:2], word[2:].removeprefix("=")])  # -k'expression', in one word
        elif option in _KEPT_WITH_VALUE:
            if not equals and position < len(words):
                value, position = words[position], position + 1
            chosen.options.extend([option, _below(value, directory) if option in _PATH_OPTIONS else value])
        elif word in _KEPT_FLAGS:
            chosen.options.append(word)
        else:
            chosen.left_out.append(word)
            has_value = option in _LEFT_OUT_WITH_VALUE and not equals and position < len(words)
            position += has_value and not words[position].startswith("-")
    return chosen


def _paths(word: str, root: Path, directory: str) -> list[str]:
    """A path, perhaps with ::test, or a pattern of paths, as it lies below the root; [] when there is none."""
    name, separator, node = _below(word, directory).partition("::")
    if "*" in name:
        found = sorted(path for path in root.glob(name.lstrip("/")) if is_inside(path, root))
        return [path.relative_to(root).as_posix() for path in found]
    path = root / name
    if name.startswith("/") or not is_inside(path, root) or not path.exists():
        return []
    return [f"{path.resolve().relative_to(root.resolve()).as_posix()}{separator}{node}"]


def _below(name: str, directory: str) -> str:
    return name if directory == "." else f"{directory}/{name}"
