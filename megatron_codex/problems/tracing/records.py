"""The file of records: one JSON line each, written at once, by the traced process and those that it forks.

Out, in this order:
    {"kind": "start", "engine", "python", "seal": SHA-256 of the token}
    {"kind": "function", "function": id, "origin", "file", "name", "line", "function_kind", "is_generator"}
    {"kind": "sample", "function": id, "call": ordinal, "args": [...], "kwargs": {...},
     "output" | "iterator" | "raises" and "message": ..., "changes": {position or name: what it is afterwards}}
     (iterator: null where a call gives an iterator of another sort than a generator of its own)
    {"kind": "not_plain", "function": id, "where": "arguments" | "result" | "changes", "type": what has no form}
    {"kind": "end", "token", "exit_code", "passed", "failed", "errors", "skipped", "resumed", "calls": {id: calls}}
An id is "origin:file:line:qualified name". Calls are counted as long as a function is looked at.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from megatron_codex.problems.tracing.forms import json_text

MAX_BYTES = 64 << 20
"""Of all records; then only the last one is written."""


_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""It may have become a link, or a pipe that nobody reads."""


class RecordFile:
    """Takes what it needs at the start: a suite may put others in the place of os.write or json.dumps for a while."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._open, self._write, self._close, self._getpid = os.open, os.write, os.close, os.getpid
        self._left = MAX_BYTES
        self._process = os.getpid()
        self.token = os.urandom(16).hex()
        """In the last record; its hash is in the first."""

    @property
    def is_full(self) -> bool:
        return self._left <= 0

    def is_of_this_process(self) -> bool:
        """False in a process that the suite forked."""
        return self._getpid() == self._process

    def write(self, **record: Any) -> None:
        self.write_line(json_text(record))

    def write_line(self, text: str) -> None:
        """text: of one record."""
        # Opened anew each time: a suite may close descriptors that are not its own.
        line = text.encode() + b"\n"
        self._left -= len(line)
        descriptor = self._open(self._path, _FLAGS, 0o644)
        try:
            self._write(descriptor, line)
        finally:
            self._close(descriptor)
