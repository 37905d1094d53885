"""What goes wrong, said in one line, and the exit codes of every command.

A user's mistake is an InputError (exit code 2), work that failed is a WorkError (exit code 1, or a kind's own of
exit_codes.py); anything else is a fault of ours and keeps its traceback.
"""

from __future__ import annotations

import enum
import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from megatron_codex.exit_codes import ExitCode
from megatron_codex.rank import is_first_rank, launched_rank


class _Missing(enum.Enum):
    MISSING = enum.auto()


MISSING = _Missing.MISSING
"""Stands for "no value was given", where None could be a value; an enum, so that it is itself in another process."""

_MAX_VALUE_CHARS = 120

_FULL = {
    errno.ENOSPC: "no space is left on the disk; free some and run the command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
}
_UNUSABLE = {
    errno.EACCES: "permission is denied; give it, or name another path",
    errno.EPERM: "the operation is not permitted; give permission, or name another path",
    errno.EROFS: "the file system is read-only; name another path",
    errno.EEXIST: "something else is there already; name another path",
    errno.ENOTDIR: "a part of this path is a file; name another path",
    errno.ENAMETOOLONG: "the name is too long; name another path",
}


class InputError(ValueError):
    """Bad input: where it lies, what was found, the rule it breaks and the remedy, as one line.

    >>> str(InputError("model.num_layers", value=0, rule="must be at least 1", remedy="give a positive count"))
    'model.num_layers: got 0; must be at least 1; give a positive count'
    """

    def __init__(self, where: str, *, value: object = MISSING, rule: str, remedy: str) -> None:
        self.where, self.value, self.rule, self.remedy = where, value, rule, remedy
        super().__init__(fault_line(where, value, rule, remedy))

    def __reduce__(self) -> tuple[object, ...]:
        # By default pickle calls __init__ with args only, and an error raised in a worker process would not arrive.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[InputError], args: tuple[object, ...], attributes: dict[str, object]) -> InputError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class WorkError(RuntimeError):
    """The work itself failed (a rank died, a project's tests did not run): one line, and an exit code."""

    exit_code: ClassVar[ExitCode] = ExitCode.WORK_FAILED


class LostRankError(WorkError):
    """A rank of the run is gone: said by the first of those that are left."""

    exit_code = ExitCode.LOST_RANK

    def __init__(self, message: str, *, speaker: int) -> None:
        super().__init__(message)
        self.speaker = speaker


class StoppedError(WorkError):
    """A signal stopped the work, and what it had done is kept: the same command goes on."""

    exit_code = ExitCode.STOPPED


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of a configuration.

    field: dotted path relative to the section that reports it ("" for the whole section).
    others: further fields that the rule reads; the fault is dropped when one of them is itself faulty.
    """

    field: str
    value: object = MISSING
    rule: str
    remedy: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return fault_line(self.field, self.value, self.rule, self.remedy)


class ConfigError(InputError):
    """All faults of a configuration at once, a line each."""

    def __init__(self, faults: Sequence[Fault], source: str = "") -> None:
        self.faults = tuple(faults)
        self.source = source
        prefix = f"{source}: " if source else ""
        ValueError.__init__(self, "\n".join(prefix + str(fault) for fault in self.faults))


def raise_faults(faults: Sequence[Fault]) -> None:
    """Raise ConfigError when there are faults: the last line of a config dataclass's __post_init__."""
    if faults:
        raise ConfigError(faults)


def fault_line(where: str, value: object, rule: str, remedy: str) -> str:
    """One line "where: got value; rule; remedy", control characters escaped and long values cut."""
    parts = [] if value is MISSING else [f"got {_shorten(value)}"]
    line = f"{where}: " + "; ".join([*parts, rule, remedy])
    return " ".join(line.split())


def _shorten(value: object) -> str:
    text = str(value) if isinstance(value, os.PathLike) else repr(value)
    return text if len(text) <= _MAX_VALUE_CHARS else text[:_MAX_VALUE_CHARS] + "..."


def run_command(main: Callable[[], object]) -> None:
    """Run a command's main and turn its errors into one line on stderr and an exit code.

    Every rank of a multi-process run exits with the code. Bad input is the same on all of them, so only global rank 0
    speaks of it; of a disk that is full or may not be written, each rank that met it does.
    Exit codes: exit_codes.py.
    """
    try:
        main()
    except (InputError, WorkError) as error:
        speaks = str(error.speaker) == launched_rank() if isinstance(error, LostRankError) else is_first_rank()
        if speaks:
            _say(str(error), kind="stopped" if isinstance(error, StoppedError) else "error")
        sys.exit(ExitCode.BAD_INPUT if isinstance(error, InputError) else error.exit_code)
    except KeyboardInterrupt as interrupt:
        if interrupt.args:  # what is kept, by work that goes on where it was stopped
            print(interrupt, file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our stdout went away (`... | head`): not an error, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # A full disk is the machine's and a path that may not be used the user's, wherever they are met.
        if error.errno in _FULL:
            _say(_FULL[error.errno] if error.filename is None else f"{error.filename}: {_FULL[error.errno]}")
            sys.exit(ExitCode.WORK_FAILED)
        if error.errno in _UNUSABLE and error.filename is not None:
            _say(f"{error.filename}: {_UNUSABLE[error.errno]}")
            sys.exit(ExitCode.BAD_INPUT)
        raise


def _say(message: str, *, kind: str = "error") -> None:
    for line in message.splitlines():
        print(f"{kind}: {line}", file=sys.stderr)
