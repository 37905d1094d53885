"""The objects of a bare git repository, from one `git cat-file --batch`, within limits of time and size.

A repository is untrusted data: neither its hooks nor its configuration may start a program, no object that it lacks is
fetched, and nothing of the user's git configuration or environment takes part. A git that gives nothing for too long (a
dead file server, a repository made to keep it busy) is ended.
Memory: one object of less than the limit that is asked for, and what git itself needs for one.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Self

_BLOCK_BYTES = 1 << 20
_PIPE_BYTES = 1 << 16
_MAX_LINE_BYTES = 1_000
_MAX_TREE_BYTES = 64_000_000
_MAX_RESTARTS = 10
_WAIT_FOR_END_S = 5.0

_SETTINGS = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.bigFileThreshold": "16m",  # larger files are not held in memory by git
}
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    # A partial clone names a remote, which may be a command, from which git would fetch what is missing.
    "GIT_NO_LAZY_FETCH": "1",  # git 2.45 and later
    "GIT_ALLOW_PROTOCOL": "none",  # any git: no transport of this name exists
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}


class Entry(NamedTuple):
    mode: str
    name: str
    object_name: str


class Damaged(Exception):
    """An object that is missing, of another type, or not to be read."""


class TooLarge(Exception):
    """A repository holds more than it may."""


class Stalled(Exception):
    """git gave nothing for too long."""


class Objects:
    """The objects of one repository. A process that dies of a damaged object is started again, a few times."""

    def __init__(self, path: Path, *, max_bytes: int, timeout_s: float) -> None:
        settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
        location = f"--git-dir={path.resolve()}"
        self._command = ["git", "--no-replace-objects", *settings, location, "cat-file", "--batch"]
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._num_bytes = 0
        self._restarts = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: _Answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def tree(self, name: str) -> list[Entry]:
        """The entries of a tree in git's order. Raises: Damaged, TooLarge."""
        _, content = self.content(name, "tree", limit=_MAX_TREE_BYTES)
        if content is None:
            raise TooLarge
        entries, position = [], 0
        while position < len(content):
            space, end = content.find(b" ", position), content.find(b"\0", position)
            after = end + 1 + self._name_bytes
            if not position < space < end or after > len(content):
                raise Damaged
            file_name = content[space + 1 : end].decode("utf-8", "surrogateescape")
            mode = content[position:space].decode("ascii", "replace").lstrip("0")
            entries.append(Entry(mode, file_name, content[end + 1 : after].hex()))
            position = after
        return entries

    def content(self, name: str, kind: str, *, limit: int) -> tuple[int, bytes | None]:
        """(size in bytes, content; None when it is of `limit` bytes or more). Raises: Damaged, TooLarge."""
        to_git, answers = self._pipes()
        try:
            to_git.write(name.encode() + b"\n")
            to_git.flush()
            header = answers.line().split()
        except OSError as error:
            self._stop()
            raise Damaged from error
        if len(header) == 2 and header[1] in (b"missing", b"ambiguous"):
            raise Damaged
        if len(header) != 3 or not header[2].isdigit():
            self._stop()
            raise Damaged
        self._name_bytes = len(header[0]) // 2  # 20 of SHA-1, 32 of SHA-256
        size = int(header[2])
        self._num_bytes += size
        if self._num_bytes > self._max_bytes:
            raise TooLarge
        content = self._take(answers, size, keep=size < limit and header[1] == kind.encode())
        if header[1] != kind.encode():
            raise Damaged
        return size, content

    def _take(self, answers: _Answers, size: int, *, keep: bool) -> bytes | None:
        """Read an object and the line end after it, so that the next answer begins."""
        parts = []
        left = size + 1
        while left:
            part = answers.read(min(left, _BLOCK_BYTES))
            if not part:
                self._stop()
                raise Damaged
            left -= len(part)
            if keep:
                parts.append(part)
        return b"".join(parts)[:-1] if keep else None

    def _pipes(self) -> tuple[IO[bytes], _Answers]:
        if self._process is None:
            if self._restarts > _MAX_RESTARTS:
                raise OSError("git died again and again")
            environment = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT}
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
            )
            self._restarts += 1
            assert self._process.stdout is not None
            self._answers = _Answers(self._process.stdout.fileno(), timeout_s=self._timeout_s)
        assert self._process.stdin is not None
        return self._process.stdin, self._answers

    def _stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):  # what is left unsaid to a git that has died
                if pipe is not None:
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):  # stuck in the kernel, on a file server that is gone
            process.wait(_WAIT_FOR_END_S)


class _Answers:
    """What git says: each line, and each piece of an object, within the time limit."""

    def __init__(self, descriptor: int, *, timeout_s: float) -> None:
        self._descriptor = descriptor
        self._timeout_s = timeout_s
        self._ahead = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def line(self) -> bytes:
        """The next line, cut at _MAX_LINE_BYTES; empty at the end. Raises: Stalled."""
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._ahead and len(self._ahead) < _MAX_LINE_BYTES:
            if not (more := self._more(deadline)):
                break
            self._ahead += more
        end = min(self._ahead.find(b"\n") + 1 or _MAX_LINE_BYTES, _MAX_LINE_BYTES)
        line, self._ahead = self._ahead[:end], self._ahead[end:]
        return line

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end. Raises: Stalled."""
        deadline = time.monotonic() + self._timeout_s
        parts, left = [self._ahead[:size]], size - len(self._ahead[:size])
        self._ahead = self._ahead[size:]
        while left and (more := self._more(deadline)):
            parts.append(more[:left])
            self._ahead = more[left:]
            left -= len(parts[-1])
        return b"".join(parts)

    def _more(self, deadline: float) -> bytes:
        left = deadline - time.monotonic()
        if left <= 0 or not self._poll.poll(1_000 * left):
            raise Stalled
        return os.read(self._descriptor, _PIPE_BYTES)
