"""Lines of work on the disk as they come, so that a process that is killed loses what was in flight and no more.

In: lines (JSON with a number: of a program, of a sample) of any number of processes that share a work. Out:
OUTPUT.partial/, which holds
fingerprint.json               what is worked on, and how: a run on anything else refuses to touch it
verdicts-00003-of-00008.jsonl  one process's journal, flocked while it is at work
lock                           flocked by who enters, and by who joins all journals: one at a time
A line that is broken, torn by a crash perhaps, counts as not written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file
from megatron_codex.unfinished import NO_LOCKS, partial_path, require_same_work

_logger = logging.getLogger(__name__)

_NEWLINE = b"\n"
_BLOCK_BYTES = 1 << 16
_MAX_OPEN = 200
_MOMENTS_S = 2.0


class LinePlaces:
    """Where in the journals each number's line stands. Memory: 10 bytes a number."""

    def __init__(self, count: int) -> None:
        self._paths: list[Path] = []
        self._open: dict[int, IO[bytes]] = {}
        self._file: npt.NDArray[np.uint16] = np.zeros(count, np.uint16)
        self._begin: npt.NDArray[np.int64] = np.zeros(count, np.int64)

    def lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """(first byte, line) of each whole line of one more journal, of which `put` is to be told."""
        self._paths.append(path)
        begin = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(_NEWLINE):
                    return
                yield begin, line
                begin += len(line)

    def put(self, number: int, begin: int) -> None:
        """The line of this number begins there, in the journal that is being read."""
        self._file[number], self._begin[number] = len(self._paths) - 1, begin

    def line(self, number: int) -> bytes:
        """A number's line, read again from its journal."""
        handle = self._opened(int(self._file[number]))
        handle.seek(int(self._begin[number]))
        return handle.readline()

    def close(self) -> None:
        for handle in self._open.values():
            handle.close()

    def _opened(self, file: int) -> IO[bytes]:
        """A journal: there may be more of them than a process may have files."""
        if file not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.popitem()[1].close()
            self._open[file] = self._paths[file].open("rb")
        return self._open[file]


class Journal:
    """The directory and one process's own file in it."""

    def __init__(self, directory: Path, name: str, own: IO[bytes], lock: IO[bytes]) -> None:
        self.directory = directory
        self._name = name
        self._own = own
        self._lock = lock

    def append(self, line: bytes) -> None:
        """Append a line: in the kernel's hands when this returns, so that no kill takes it back."""
        self._own.write(line)
        self._own.flush()

    def paths(self) -> list[Path]:
        """All processes' journals, those of earlier runs and of other divisions into shards too."""
        return _journals(self.directory, self._name)

    @contextmanager
    def joining(self) -> Iterator[bool]:
        """Wait until no other process joins; yields whether the journals are still there for this one to join."""
        _flock(self._lock, self.directory, fcntl.LOCK_EX)
        try:
            yield _is_there(self._lock, self.directory)
        finally:
            _flock(self._lock, self.directory, fcntl.LOCK_UN)

    def remove(self) -> None:
        """The directory, in one rename, while joining."""
        doomed = self.directory.with_name(f".{self.directory.name}.{os.getpid()}.tmp")
        self.directory.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


@contextmanager
def open_journal(
    output: Path, *, name: str, fingerprint: Mapping[str, Any], shard: tuple[int, int]
) -> Iterator[Journal]:
    """Enter OUTPUT.partial as process number shard[0] of shard[1].

    name: what the lines are, for example "verdicts". fingerprint: what decides them, of JSON's types.
    A directory in which this process was alone and has written nothing is removed when an error ends the block.
    Raises: InputError when the directory holds other work, or when a process of the same number, or one of another
    division into shards, is at work there.
    """
    directory = partial_path(output)
    with _entered(directory, name, shard) as lock:
        require_same_work(directory, fingerprint)
        _require_no_other_division(directory, name, shard)
        if not (directory / "fingerprint.json").exists():
            with atomic_file(directory / "fingerprint.json", "w") as handle:
                json.dump(fingerprint, handle, indent=2)
        own = (directory / journal_name(name, shard)).open("a+b")
        try:
            _flock(own, directory, fcntl.LOCK_EX | fcntl.LOCK_NB, busy=_described(shard))
        except BaseException:
            own.close()
            raise
        _cut_torn_end(own)
        _flock(lock, directory, fcntl.LOCK_UN)
        with own:
            journal = Journal(directory, name, own, lock)
            try:
                yield journal
            except BaseException:
                with journal.joining() as still_there:
                    if still_there and len(journal.paths()) == 1 and own.seek(0, os.SEEK_END) == 0:
                        journal.remove()
                raise


def journal_name(name: str, shard: tuple[int, int]) -> str:
    """File of a process's lines."""
    return f"{name}-{shard[0]:05}-of-{shard[1]:05}.jsonl"


def _journals(directory: Path, name: str) -> list[Path]:
    return sorted(directory.glob(f"{name}-*.jsonl"))


@contextmanager
def _entered(directory: Path, name: str, shard: tuple[int, int]) -> Iterator[IO[bytes]]:
    """DIRECTORY/lock, held, made with the directory where they are not there.

    Others hold it for moments, or while they write the output: a shard waits for these, to find its work done.
    """
    while True:
        if not directory.exists() or (directory / "lock").exists() or not any(directory.iterdir()):
            directory.mkdir(parents=True, exist_ok=True)
        else:
            rule, remedy = f"holds something else than unfinished {name}", "remove it, or name another output"
            raise InputError(str(directory), rule=rule, remedy=remedy)
        try:
            handle = (directory / "lock").open("a+b")
        except FileNotFoundError:
            continue  # who joined all journals has removed the directory since
        with handle:
            waits = fcntl.LOCK_EX if shard[1] > 1 else fcntl.LOCK_EX | fcntl.LOCK_NB
            _flock(handle, directory, waits, busy="this output", patience_s=_MOMENTS_S)
            if not _is_there(handle, directory):
                continue
            yield handle
            return


def _require_no_other_division(directory: Path, name: str, shard: tuple[int, int]) -> None:
    """Two divisions at once would do the same work twice."""
    for path in _journals(directory, name):
        number, _, count = path.stem.removeprefix(f"{name}-").partition("-of-")
        if int(count) != shard[1]:
            with path.open("a+b") as other:
                busy = _described((int(number), int(count)))
                _flock(other, directory, fcntl.LOCK_EX | fcntl.LOCK_NB, busy=busy)


def _flock(handle: IO[bytes], directory: Path, operation: int, *, busy: str = "", patience_s: float = 0.0) -> None:
    """busy: what is at work where the lock is held and not waited for, or for longer than patience_s."""
    deadline = time.monotonic() + patience_s
    try:
        while True:
            try:
                fcntl.flock(handle, operation)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    except BlockingIOError as error:
        remedy = "wait for it, or name another output"
        raise InputError(str(directory), rule=f"another process is at work on {busy}", remedy=remedy) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _logger.warning("%s: its file system has no locks; no second run on this output will be refused", directory)


def _described(shard: tuple[int, int]) -> str:
    return "this output" if shard[1] == 1 else f"shard {shard[0]}/{shard[1]} of this output"


def _is_there(lock: IO[bytes], directory: Path) -> bool:
    try:
        return os.path.samestat((directory / "lock").stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


def _cut_torn_end(handle: IO[bytes]) -> None:
    """Cut what follows the last newline: a line of which a crash, or a full disk, let only a part be written."""
    end = size = handle.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - _BLOCK_BYTES)
        handle.seek(begin)
        place = handle.read(end - begin).rfind(_NEWLINE)
        end = begin + place + 1
        if place >= 0:
            break
        end = begin
    if end < size:
        handle.truncate(end)
