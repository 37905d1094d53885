"""One launch of a run at a time on this machine: two would write the same files.

In: Work. Out: RUN/launch/NAME.running, which is locked while a process of this machine runs it, and says which. The
kernel lets the lock go however that process ends.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from megatron_codex.errors import InputError
from megatron_codex.launch.work import Work

_AGAIN_S = 0.02
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_logger = logging.getLogger(__name__)


@contextmanager
def running_here(work: Work) -> Iterator[None]:
    """While the block runs. Raises: InputError when another process runs it."""
    path = work.file("running")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as handle:
        while not take_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            require_not_running_here(work)
            time.sleep(_AGAIN_S)  # it was only looked at
        handle.truncate(0)
        handle.write(f"{socket.gethostname()}, process {os.getpid()}")
        handle.flush()
        yield


def require_not_running_here(work: Work) -> None:
    """Raises: InputError when a process of `launch.py local` runs it."""
    who = runs_here(work.file("running"))
    if who is not None:
        rule, remedy = f"{work.config.job_name} is being run by `launch.py local` ({who})", "wait for it, or end it"
        raise InputError(str(work.folder), rule=rule, remedy=remedy)


def runs_here(path: Path) -> str | None:
    """Who runs it, by its NAME.running; None: nobody does."""
    try:
        with path.open(encoding="utf-8") as handle:
            return None if take_lock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB) else handle.read() or "just started"
    except FileNotFoundError:
        return None


def take_lock(handle: TextIO, how: int) -> bool:
    """flock(2) an open file; False: another process has it. Some file systems (Lustre by default) have no locks."""
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _logger.warning("%s: this file system has no locks; do not launch a run twice at a time", handle.name)
    return True
