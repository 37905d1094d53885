"""The inputs of a corpus, sorted into units of work: some files of a directory, or one archive, repository or table."""

from __future__ import annotations

import fnmatch
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.corpus.git_repositories import is_repository, require_git
from megatron_codex.corpus.languages import LANGUAGES, NOTEBOOK_SUFFIX, PYTHON_FILES, Selection, selection_of
from megatron_codex.errors import InputError
from megatron_codex.files import require_file

logger = logging.getLogger(__name__)

Kind = Literal["files", "tar", "zip", "git", "jsonl", "parquet"]

_SUFFIXES: dict[str, Kind] = {
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
    ".tar.bz2": "tar",
    ".tbz2": "tar",
    ".tar.xz": "tar",
    ".txz": "tar",
    ".tar.zst": "tar",
    ".zip": "zip",
    ".whl": "zip",
    ".egg": "zip",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".jsonl.zst": "jsonl",
    ".parquet": "parquet",
}
_MAX_ARCHIVE_BYTES = CorpusConfig.max_archive_bytes
_FILES_IN_A_UNIT = 500


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one worker reads at a time."""

    kind: Kind
    path: Path
    """The archive, repository or table; for files, the directory that `names` are relative to."""
    names: tuple[str, ...] = ()
    """Of files: paths relative to `path`, sorted."""
    selection: Selection = PYTHON_FILES
    """Which files in it are read."""
    max_archive_bytes: int = _MAX_ARCHIVE_BYTES
    """Bytes of an archive or repository after decompression."""
    git_timeout_s: float = CorpusConfig.git_timeout_s
    """Seconds that git may give nothing."""
    begin: int = 0
    """First byte of a plain tar or JSON Lines file, or first row group of Parquet, of a unit that is a range of it."""
    end: int = sys.maxsize
    """One past the last."""
    licence: tuple[str, str] | None = None
    """Of a range of a tar: folder and licence of the package metadata before it."""

    def __str__(self) -> str:
        """For people: which one of many it is."""
        name = str(self.path / self.names[0] if self.names else self.path)
        return name if (self.begin, self.end) == (0, sys.maxsize) else f"{name} (from {self.begin})"


def find_units(config: CorpusConfig) -> list[Unit]:
    """Units of all inputs, in the order of the inputs' paths and, inside a directory, of the names in it.

    Raises: InputError for an input that is missing, empty, of no known kind or with nothing to read, for an unknown
    language, and for repositories where there is no git.
    """
    selection = selection_of(config.languages, notebooks=config.notebooks)
    units: list[Unit] = []
    for path in sorted(set(config.input)):
        found = (
            list(_units_of_directory(path, config, selection)) if path.is_dir() else [_unit_of_file(path, selection)]
        )
        if not found:
            rule = f"holds no {_files_in_words(selection)}, archive, repository or table"
            remedy = "name a directory of source files, archives, bare repositories or tables, or other --languages"
            raise InputError(str(path), rule=rule, remedy=remedy)
        units += found
    if any(unit.kind == "git" for unit in units):
        require_git()
    return [
        replace(
            unit,
            selection=selection,
            max_archive_bytes=config.max_archive_bytes,
            git_timeout_s=config.git_timeout_s,
        )
        for unit in units
    ]


def kind_of(name: str) -> Kind | None:
    """The kind of an archive or table by its name's ending, None when it is neither."""
    lower = name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if lower.endswith(suffix)), None)


def _files_in_words(selection: Selection) -> str:
    return f"{' or '.join(selection.languages)} file" + (" or notebook" if selection.notebooks else "")


def _endings(selection: Selection) -> list[str]:
    endings = [ending for name in selection.languages for ending in LANGUAGES[name].extensions]
    return endings + [NOTEBOOK_SUFFIX] * selection.notebooks


def _unit_of_file(path: Path, selection: Selection) -> Unit:
    if selection.language_of(path.name) and path.exists():  # an empty one is no mistake: it is counted as such
        return Unit(kind="files", path=path.parent, names=(path.name,))
    require_file(path, "an input of the corpus")
    kind = kind_of(path.name)
    if kind is None:
        known = ", ".join([*_endings(selection), *_SUFFIXES])
        rule = "is no kind of input that is known by its ending"
        raise InputError(str(path), rule=rule, remedy=f"give a directory or one of {known}")
    return Unit(kind=kind, path=path)


def _units_of_directory(root: Path, config: CorpusConfig, selection: Selection) -> Iterator[Unit]:
    if is_repository(root):
        yield Unit(kind="git", path=root)
        return
    sources, containers = _walk(root, config.exclude, selection)
    # A source tree has archives of its own, as test data: they are not its text. A folder of archives has no sources.
    opened = config.archives_in_directories == "always" or (config.archives_in_directories == "auto" and not sources)
    if containers and not opened:
        logger.warning("%s: %d archives, repositories and tables in it are not opened", root, len(containers))
    for start in range(0, len(sources), _FILES_IN_A_UNIT):
        yield Unit(kind="files", path=root, names=tuple(sources[start : start + _FILES_IN_A_UNIT]))
    for name, kind in containers if opened else ():
        yield Unit(kind=kind, path=root / name)


def _walk(root: Path, exclude: Iterable[str], selection: Selection) -> tuple[list[str], list[tuple[str, Kind]]]:
    """(source files and folders that cannot be listed, containers with their kinds): relative names, sorted.

    Links to folders are not followed: they can lead in circles, and out of the input. Folders named .git are passed
    over: what they hold is in the work tree beside them.
    """
    unlisted: list[str] = []
    patterns = tuple(exclude)

    def kept(name: str) -> bool:
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    sources: list[Path] = []
    containers: list[tuple[Path, Kind]] = []
    for folder, subfolders, files in os.walk(root, onerror=lambda error: unlisted.append(error.filename)):
        if "HEAD" in files and "objects" in subfolders and is_repository(Path(folder)):
            containers.append((Path(folder), "git"))
            subfolders.clear()
            continue
        subfolders[:] = [name for name in subfolders if kept(name) and name != ".git"]
        for name in filter(kept, files):
            if (kind := kind_of(name)) is not None:
                containers.append((Path(folder, name), kind))
            elif selection.language_of(name):
                sources.append(Path(folder, name))
    names = sorted(path.relative_to(root).as_posix() for path in [*sources, *map(Path, unlisted)])
    return names, sorted((path.relative_to(root).as_posix(), kind) for path, kind in containers)
