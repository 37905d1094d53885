"""Verdicts on the disk as they come, so that a driver that is killed loses what was in flight and no more.

In: verdicts of programs by number. Out: OUTPUT.partial/, which any number of drivers share, and which holds
fingerprint.json               what is judged, and how: a run on anything else refuses to touch it
verdicts-00003-of-00008.jsonl  one driver's, flocked while it is at work; a line: {"program": ..., a Verdict's fields}
lock                           flocked by who enters, and by who joins all verdicts: one at a time
A line that is broken, torn by a crash perhaps, counts as not written. Memory: 12 bytes a program.
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
from megatron_codex.jsonl import dump_line
from megatron_codex.records import VERDICT_NAMES, Verdict
from megatron_codex.unfinished import NO_LOCKS, partial_path, require_same_work

_logger = logging.getLogger(__name__)

FORMAT = "megatron_codex/verdicts/1"
NOT_JUDGED = 255
INFRA = VERDICT_NAMES.index("infra")
_NEWLINE = b"\n"
_BLOCK_BYTES = 1 << 16
_MAX_OPEN = 200
_MOMENTS_S = 2.0


class KnownVerdicts:
    """What the journals say of each program; what the harness failed at counts only where nothing else is said."""

    def __init__(self, num_programs: int) -> None:
        self.codes: npt.NDArray[np.uint8] = np.full(num_programs, NOT_JUDGED, np.uint8)
        """[num_programs], places in VERDICT_NAMES, or NOT_JUDGED."""
        self.isolations: list[str] = []
        """The levels of isolation that were met."""
        self.cpu_factors: set[float] = set()
        """By how much limits were stretched, on one machine or another."""
        self._paths: list[Path] = []
        self._open: dict[int, IO[bytes]] = {}
        self._file: npt.NDArray[np.uint16] = np.zeros(num_programs, np.uint16)
        self._begin: npt.NDArray[np.int64] = np.zeros(num_programs, np.int64)

    def read(self, path: Path) -> int:
        """Take in one journal; returns how many broken lines it has, a torn end apart."""
        begin, broken = 0, 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(_NEWLINE):
                    break
                entry = _parse(line, len(self.codes))
                if entry is None:
                    broken += 1
                else:
                    self._take(*entry, file=len(self._paths), begin=begin)
                begin += len(line)
        self._paths.append(path)
        return broken

    def verdict(self, program: int) -> Verdict:
        """Read again from its journal."""
        handle = self._opened(int(self._file[program]))
        handle.seek(int(self._begin[program]))
        entry = _parse(handle.readline(), len(self.codes))
        assert entry is not None and entry[0] == program
        return entry[1]

    def pending(self) -> npt.NDArray[np.int64]:
        """Numbers of the programs that have no verdict yet, or only infra."""
        return np.flatnonzero((self.codes == NOT_JUDGED) | (self.codes == INFRA))

    @property
    def num_missing(self) -> int:
        return int((self.codes == NOT_JUDGED).sum())

    def close(self) -> None:
        for handle in self._open.values():
            handle.close()

    def __enter__(self) -> KnownVerdicts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, file: int) -> IO[bytes]:
        """A journal: there may be more of them than a process may have files."""
        if file not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.popitem()[1].close()
            self._open[file] = self._paths[file].open("rb")
        return self._open[file]

    def _take(self, program: int, verdict: Verdict, *, file: int, begin: int) -> None:
        if self.codes[program] not in (NOT_JUDGED, INFRA):
            return
        self.codes[program] = VERDICT_NAMES.index(verdict.verdict)
        self._file[program], self._begin[program] = file, begin
        self.cpu_factors.add(verdict.cpu_factor)
        if verdict.isolation not in self.isolations:
            self.isolations.append(verdict.isolation)


class Journal:
    """The directory and one driver's own file in it."""

    def __init__(self, directory: Path, own: IO[bytes], lock: IO[bytes]) -> None:
        self.directory = directory
        self._own = own
        self._lock = lock

    def add(self, program: int, verdict: Verdict) -> None:
        """Append a verdict: in the kernel's hands when this returns, so that no kill takes it back."""
        self._own.write(dump_line({"program": program, **verdict.to_json()}))
        self._own.flush()

    def read(self, num_programs: int) -> KnownVerdicts:
        """What all drivers have said so far. Broken lines are told of, and judged again."""
        known = KnownVerdicts(num_programs)
        for path in sorted(self.directory.glob("verdicts-*.jsonl")):
            broken = known.read(path)
            if broken:
                _logger.warning("%s: %d lines are broken; their programs are judged again", path, broken)
        return known

    @contextmanager
    def joining(self) -> Iterator[bool]:
        """Wait until no other driver joins; yields whether the journals are still there for this one to join."""
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
def open_journal(output: Path, *, fingerprint: Mapping[str, Any], shard: tuple[int, int]) -> Iterator[Journal]:
    """Enter OUTPUT.partial as driver number shard[0] of shard[1]. fingerprint: what decides the verdicts, JSON's types.

    A directory in which this driver was alone and has judged nothing is removed when an error ends the block.
    Raises: InputError when the directory holds other work, or when a driver of the same number, or one of another
    division into shards, is at work there.
    """
    directory = partial_path(output)
    with _entered(directory, shard) as lock:
        require_same_work(directory, fingerprint)
        _require_no_other_division(directory, shard)
        if not (directory / "fingerprint.json").exists():
            with atomic_file(directory / "fingerprint.json", "w") as handle:
                json.dump(fingerprint, handle, indent=2)
        own = (directory / journal_name(shard)).open("a+b")
        try:
            _flock(own, directory, fcntl.LOCK_EX | fcntl.LOCK_NB, busy=_described(shard))
        except BaseException:
            own.close()
            raise
        _cut_torn_end(own)
        _flock(lock, directory, fcntl.LOCK_UN)
        with own:
            journal = Journal(directory, own, lock)
            try:
                yield journal
            except BaseException:
                with journal.joining() as still_there:
                    journals = list(directory.glob("verdicts-*.jsonl"))
                    if still_there and len(journals) == 1 and own.seek(0, os.SEEK_END) == 0:
                        journal.remove()
                raise


def journal_name(shard: tuple[int, int]) -> str:
    return f"verdicts-{shard[0]:05}-of-{shard[1]:05}.jsonl"


@contextmanager
def _entered(directory: Path, shard: tuple[int, int]) -> Iterator[IO[bytes]]:
    """DIRECTORY/lock, held, made with the directory where they are not there.

    Others hold it for moments, or while they write the results: a shard waits for these, to find its work done.
    """
    while True:
        if not directory.exists() or (directory / "lock").exists() or not any(directory.iterdir()):
            directory.mkdir(parents=True, exist_ok=True)
        else:
            rule, remedy = "holds something else than unfinished judging", "remove it, or name another output"
            raise InputError(str(directory), rule=rule, remedy=remedy)
        try:
            handle = (directory / "lock").open("a+b")
        except FileNotFoundError:
            continue  # who joined all verdicts has removed the directory since
        with handle:
            waits = fcntl.LOCK_EX if shard[1] > 1 else fcntl.LOCK_EX | fcntl.LOCK_NB
            _flock(handle, directory, waits, busy="this output", patience_s=_MOMENTS_S)
            if not _is_there(handle, directory):
                continue
            yield handle
            return


def _require_no_other_division(directory: Path, shard: tuple[int, int]) -> None:
    """Two divisions at once would judge the same programs twice."""
    for path in directory.glob("verdicts-*.jsonl"):
        number, _, count = path.stem.removeprefix("verdicts-").partition("-of-")
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


def _parse(line: bytes, num_programs: int) -> tuple[int, Verdict] | None:
    """(program, its verdict); None for a broken line. Of a million lines Verdict.from_json would take minutes."""
    try:
        row = json.loads(line)
        program = row.pop("program")
        verdict = Verdict(**row)
    except (ValueError, LookupError, AttributeError, TypeError):
        return None
    if verdict.verdict not in VERDICT_NAMES or type(verdict.detail) is not str or type(verdict.isolation) is not str:
        return None
    return (program, verdict) if type(program) is int and 0 <= program < num_programs else None
