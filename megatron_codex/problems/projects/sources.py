"""What the user names as projects: paths, text files of them, names of the package index.

In: the words of `--project`. Out: a ProjectSource for each project, in order; nothing is opened or fetched yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.errors import InputError
from megatron_codex.files import require_file

LIST_SUFFIX = ".txt"
_INDEX_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:==\s*([A-Za-z0-9.!+_-]+))?")
_PATH_LIKE = re.compile(r"/|^\.|^~|\.(whl|zip|tgz|git|tar(\.\w+)?)$")


@dataclass(frozen=True, kw_only=True)
class ProjectSource:
    """One project as it was named. Exactly one of path and requirement is given."""

    path: Path | None = None
    """An archive, a directory or a git repository."""
    requirement: str = ""
    """`name` or `name==version` of the package index."""

    @property
    def label(self) -> str:
        """What to call it as long as its own name is not known."""
        return self.requirement if self.path is None else self.path.name or str(self.path)


def find_sources(words: Iterable[str | Path]) -> list[ProjectSource]:
    """The projects, each once. A .txt file holds one a line (# begins a comment), its paths relative to the file.

    Raises: InputError for a path that is not there, a list that cannot be read, or an empty one.
    """
    return list(dict.fromkeys(source for word in words for source in _sources_of(str(word))))


def _sources_of(word: str) -> Iterator[ProjectSource]:
    path = Path(word).expanduser()
    if path.suffix == LIST_SUFFIX and not path.is_dir():
        yield from _listed(path)
    else:
        yield _source(word, path, where=word)


def _listed(path: Path) -> Iterator[ProjectSource]:
    try:
        lines = require_file(path, "a list of projects, one a line").read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(str(path), rule="is not UTF-8 text", remedy="write one project a line") from error
    count = 0
    for number, line in enumerate(lines, start=1):
        word = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if word:
            count += 1
            yield _source(word, path.parent / Path(word).expanduser(), where=f"{path}:{number}")
    if not count:
        raise InputError(str(path), rule="names no project", remedy="write one project a line")


def _source(word: str, path: Path, *, where: str) -> ProjectSource:
    if path.exists():
        return ProjectSource(path=path)
    match = _INDEX_NAME.fullmatch(word)
    if match is None or _PATH_LIKE.search(word):
        remedy = "name an sdist, a wheel, a directory, a git repository, or a package of the index (name or name==1.0)"
        if where == word:
            raise InputError(where, rule="no such project", remedy=remedy)
        raise InputError(where, value=word, rule="no such project", remedy=remedy)
    name, version = match.groups()
    return ProjectSource(requirement=f"{name}=={version}" if version else name)
