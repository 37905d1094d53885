"""A project's own command inside the jail, and what its worker process does around it.

In: argv and environment. Out: the command's exit code; afterwards the files it left in /output, as frames.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from megatron_codex.sandbox.frames import write_frame
from megatron_codex.sandbox.places import OUTPUT

_CHUNK_BYTES = 1 << 20


def execute(*, argv: list[str], environment: dict[str, str]) -> NoReturn:
    """Run the command as a child of this process, pid 1 of its namespace, and exit as it does.

    Pid 1 has no default signal actions and must collect orphans: no place for a program that does not expect it.
    """
    program = os.fork()
    if program == 0:
        try:
            os.execvpe(argv[0], argv, environment)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def exceeds_memory(limit_bytes: int) -> bool:
    """Whether all processes of this pid namespace but this one hold more memory than that.

    Resident sizes are quick to read but count a shared page for each process; where they exceed the limit, proportional
    ones, which share it out, decide.
    """
    resident = _total_of_processes(lambda entry: int((entry / "statm").read_text().split()[1]))
    if resident * os.sysconf("SC_PAGE_SIZE") <= limit_bytes:
        return False
    return _total_of_processes(_proportional_kib) * 1024 > limit_bytes


def _total_of_processes(measure: Callable[[Path], int]) -> int:
    total = 0
    own = str(os.getpid())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != own:
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                total += measure(entry)
    return total


def _proportional_kib(entry: Path) -> int:
    lines = (entry / "smaps_rollup").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def send_output(descriptor: int, *, limit_bytes: int) -> None:
    """Send the regular files below /output, `limit_bytes` together at most, then {"truncated": bool}.

    The program that wrote them is dead by now; its symlinks are not followed.
    """
    left, truncated = limit_bytes, False
    for directory, _, names in os.walk(OUTPUT):
        for name in sorted(names):
            path = Path(directory) / name
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                continue
            if status.st_size > left:
                truncated = True
                continue
            left -= status.st_size
            _send_file(descriptor, path)
    write_frame(descriptor, {"truncated": truncated})


def _send_file(descriptor: int, path: Path) -> None:
    name = str(path.relative_to(OUTPUT))
    write_frame(descriptor, {"file": name})
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            write_frame(descriptor, {"file": name, "data": base64.b64encode(chunk).decode()})
