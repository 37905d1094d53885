"""The files of a git repository's HEAD, as members of an archive: bare, or a work tree of which only .git is there.

In: a path. Out: (name, content) of each file; links and submodules are left out. corpus/git_objects.py reads the
objects within limits and starts no program that the repository names.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from megatron_codex.corpus.git_objects import Damaged, Entry, Objects, Stalled, TooLarge
from megatron_codex.corpus.git_repositories import is_repository

_TREE, _LINK, _SUBMODULE = "40000", "120000", "160000"
_TIMEOUT_S = 60.0
_MAX_DEPTH = 200


class UnreadableRepositoryError(Exception):
    """Why nothing, or not all, can be read of it."""


def repository_of(path: Path) -> Path | None:
    """The git directory to read: the path itself when it is bare, its .git when nothing else is there, or None."""
    if is_repository(path):
        return path
    inner = path / ".git"
    alone = inner.is_dir() and all(entry == inner for entry in path.iterdir())
    return inner if alone and is_repository(inner) else None


def head_members(repository: Path, *, max_bytes: int) -> Iterator[tuple[str, IO[bytes]]]:
    """Every file of HEAD. max_bytes: of all objects together. Raises: UnreadableRepositoryError."""
    try:
        with Objects(repository, max_bytes=max_bytes, timeout_s=_TIMEOUT_S) as objects:
            for name, entry in _files(objects, objects.tree("HEAD^{tree}"), ""):
                _, content = objects.content(entry.object_name, "blob", limit=max_bytes)
                if content is None:
                    raise TooLarge
                yield name, io.BytesIO(content)
    except FileNotFoundError as error:
        raise UnreadableRepositoryError("git is not on PATH") from error
    except TooLarge as error:
        raise UnreadableRepositoryError(f"it holds more than {max_bytes} bytes") from error
    except Stalled as error:
        raise UnreadableRepositoryError(f"git gave nothing for {_TIMEOUT_S:.0f} s") from error
    except (Damaged, OSError) as error:
        raise UnreadableRepositoryError("it has no commit, or an object is missing or damaged") from error


def _files(objects: Objects, entries: list[Entry], prefix: str) -> Iterator[tuple[str, Entry]]:
    for entry in entries:
        name = prefix + entry.name
        if entry.mode == _TREE:
            if name.count("/") >= _MAX_DEPTH:
                raise Damaged
            yield from _files(objects, objects.tree(entry.object_name), f"{name}/")
        elif entry.mode not in (_LINK, _SUBMODULE):
            yield name, entry
