"""OUTPUT.partial/: the work of a command that has not ended, held by one process, continued by the next run.

In: what the work is on (its fingerprint) and the outputs it will make. Out: a directory, which holds
fingerprint.json   what the work is on: a run on anything else refuses to touch it
lock               flocked by the process that is at work, and naming it; a process that dies lets go of it
publishing         there from the moment at which the first output is put in its place
and whatever the command keeps there. The directory vanishes in one rename when the work is done.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, require_absent, sync_directory

logger = logging.getLogger(__name__)

_FINGERPRINT, _LOCK, _PUBLISHING = "fingerprint.json", "lock", "publishing"
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""What flock fails with where there are no locks: Lustre without its flock option, some NFS."""


def partial_path(output: Path) -> Path:
    """Where the unfinished work of an output (a directory, or a PREFIX of files) lies."""
    return Path(f"{output}.partial")


class Unfinished:
    """The directory of unfinished work while this process holds it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def publishing(self) -> bool:
        """Whether this run, or one that it continues, began to put its outputs in their places."""
        return (self.directory / _PUBLISHING).exists()

    def publish(self, files: Mapping[Path, Path]) -> None:
        """Rename whole files to their places, in order: what readers look for first goes last."""
        with atomic_file(self.directory / _PUBLISHING, "w"):
            pass
        for source, target in files.items():
            source.replace(target)
            sync_directory(target.parent)


@contextmanager
def unfinished_work(
    output: Path, *, fingerprint: Mapping[str, Any], outputs: Sequence[Path], keep_on_bad_input: bool = False
) -> Iterator[Unfinished]:
    """Hold OUTPUT.partial, made or found again; it is removed when the block ends without error.

    fingerprint: what decides the outputs, of JSON's types. outputs: what must not be there before it is published.
    After an error the work stays for the next run, unless there is none yet; after an InputError it goes, for mended
    input is other input, unless keep_on_bad_input says that it is of use then too.
    Raises: InputError when an output exists, the directory holds other work, or another process holds it.
    """
    directory = partial_path(output)
    if not directory.exists():
        _require_outputs_absent(outputs)
    elif not (directory / _LOCK).exists():
        require_same_work(directory, fingerprint)  # nothing is put into a stranger's folder, not even a lock
    with _locked(directory):
        require_same_work(directory, fingerprint)
        work = Unfinished(directory)
        if not work.publishing:
            _require_outputs_absent(outputs)
        if not (directory / _FINGERPRINT).exists():
            with atomic_file(directory / _FINGERPRINT, "w") as handle:
                json.dump(fingerprint, handle, indent=2)
        try:
            yield work
        except BaseException as error:
            spoiled = isinstance(error, InputError) and not keep_on_bad_input
            if spoiled or not _holds_work(directory):
                _remove(directory)
            raise
        _remove(directory)


def _require_outputs_absent(outputs: Sequence[Path]) -> None:
    for path in outputs:
        require_absent(path)


def require_same_work(directory: Path, fingerprint: Mapping[str, Any]) -> None:
    """Raise InputError when the directory holds something else than this work, or nothing."""
    try:
        before = json.loads((directory / _FINGERPRINT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        before = None
        if not _holds_work(directory):
            return
    except ValueError:
        before = None
    wanted = json.loads(json.dumps(fingerprint))
    if before != wanted:
        found = before if isinstance(before, dict) else {}
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        rule = f"holds unfinished work of a run with other {', '.join(differing) or 'settings'}"
        remedy = "remove this directory, or run again with the same inputs and settings to finish it"
        raise InputError(str(directory), rule=rule, remedy=remedy)


def _holds_work(directory: Path) -> bool:
    own = {directory / name for name in (_FINGERPRINT, _LOCK)}
    files = (path for path in directory.rglob("*") if path.is_file() and path not in own)
    return any(not (path.name.startswith(".") and path.suffix == ".tmp") for path in files)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold DIRECTORY/lock, made with the directory where they are not there."""
    path = directory / _LOCK
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            handle = path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            continue  # who held it was done, and has removed the directory since
        with handle:
            _lock(handle, directory)
            if not path.exists() or not os.path.samestat(path.stat(), os.fstat(handle.fileno())):
                continue  # the same, between opening and locking
            handle.truncate(0)
            handle.write(f"{socket.gethostname()}, process {os.getpid()}")
            handle.flush()
            yield
            return


def _lock(handle: IO[str], directory: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        handle.seek(0)
        who = f" ({name})" if (name := handle.read(200)) else ""
        rule = f"another process{who} is at work on this output"
        raise InputError(str(directory), rule=rule, remedy="wait for it, or name another output") from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("%s: its file system has no locks; no second run on this output will be refused", directory)


def _remove(directory: Path) -> None:
    """In one rename, and while it is locked: another run never meets half of it."""
    doomed = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    directory.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
