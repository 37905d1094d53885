"""The inputs of a corpus, sorted into units of work: some files of a directory, or one archive or table."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.config.corpus import CorpusConfig
from megatron_codex.errors import InputError
from megatron_codex.files import require_file

logger = logging.getLogger(__name__)

Kind = Literal["files", "tar", "zip", "jsonl", "parquet"]

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
PYTHON_SUFFIX = ".py"

_FILES_IN_A_UNIT = 500


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one worker reads at a time."""

    kind: Kind
    path: Path
    """The archive or table; for files, the directory that `names` are relative to."""
    names: tuple[str, ...] = ()
    """Of files: paths relative to `path`, sorted."""


def find_units(config: CorpusConfig) -> list[Unit]:
    """Units of all inputs, in the order of the inputs' paths and, inside a directory, of the names in it.

    Raises: InputError for an input that is missing, empty or of no known kind, and when there is nothing to read.
    """
    units: list[Unit] = []
    for path in sorted(set(config.input)):
        found = list(_units_of_directory(path, config) if path.is_dir() else [_unit_of_file(path)])
        if not found:
            rule = "holds no Python file, archive or table"
            raise InputError(str(path), rule=rule, remedy="name a directory of .py files, archives or tables")
        units += found
    return units


def kind_of(name: str) -> Kind | None:
    """The kind of an archive or table by its name's ending, None when it is neither."""
    lower = name.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if lower.endswith(suffix)), None)


def is_python(name: str) -> bool:
    """Whether a path names a Python source file."""
    return name.lower().endswith(PYTHON_SUFFIX)


def _unit_of_file(path: Path) -> Unit:
    if is_python(path.name) and path.exists():  # an empty one is no mistake: it is counted as such
        return Unit(kind="files", path=path.parent, names=(path.name,))
    require_file(path, "an input of the corpus")
    kind = kind_of(path.name)
    if kind is None:
        known = ", ".join([PYTHON_SUFFIX, *_SUFFIXES])
        rule = "is no kind of input that is known by its ending"
        raise InputError(str(path), rule=rule, remedy=f"give a directory or one of {known}")
    return Unit(kind=kind, path=path)


def _units_of_directory(root: Path, config: CorpusConfig) -> Iterator[Unit]:
    sources, containers = [], []
    for name in _walk(root, config.exclude):
        if kind_of(name) is None:
            sources.append(name)
        else:
            containers.append(name)
    # A source tree has archives of its own, as test data: they are not its text. A folder of archives has no sources.
    opened = config.archives_in_directories == "always" or (config.archives_in_directories == "auto" and not sources)
    if containers and not opened:
        logger.warning("%s: %d archives and tables in it are not opened", root, len(containers))
    for start in range(0, len(sources), _FILES_IN_A_UNIT):
        yield Unit(kind="files", path=root, names=tuple(sources[start : start + _FILES_IN_A_UNIT]))
    for name in containers if opened else ():
        kind = kind_of(name)
        assert kind is not None
        yield Unit(kind=kind, path=root / name)


def _walk(root: Path, exclude: Iterable[str]) -> list[str]:
    """Sorted relative names of Python files, archives and tables, and of folders that cannot be listed.

    Links to folders are not followed: they can lead in circles, and out of the input.
    """
    unlisted: list[str] = []
    patterns = tuple(exclude)

    def kept(name: str) -> bool:
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    found = []
    for folder, subfolders, files in os.walk(root, onerror=lambda error: unlisted.append(error.filename)):
        subfolders[:] = [name for name in subfolders if kept(name)]
        found += [Path(folder, name) for name in files if (is_python(name) or kind_of(name)) and kept(name)]
    return sorted(path.relative_to(root).as_posix() for path in [*found, *map(Path, unlisted)])
