"""Submissions and their verdicts on the disk as they are made: a harvest that is killed goes on where it was.

In: what is sent, then what came back. Out: a JSON Lines file, each line on the disk before the next step: {"task_id",
"strategy", "key", "sha256"} before a program is sent, {"key", "verdict"} after. A torn last line counts as not written.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import IO, Any

from megatron_codex.errors import InputError
from megatron_codex.jsonl import dump_line
from megatron_codex.problems.contests.judge_protocol import SiteVerdict


class SubmissionJournal:
    """One process's; a context manager. Path: made if it is not there."""

    def __init__(self, path: Path) -> None:
        """Raises: InputError for a line that is broken in the middle of the file."""
        self.path = path
        self.keys: dict[tuple[str, str], str] = {}
        """(task_id, SHA-256 of the source) -> key of the submission."""
        self.verdicts: dict[str, SiteVerdict] = {}
        self.counts: dict[str, Counter[str]] = {}
        """task_id -> submissions by strategy."""
        size = self._read(path) if path.exists() else 0
        self._file: IO[bytes] = path.open("ab")
        self._file.truncate(size)

    @property
    def num_submissions(self) -> int:
        return len(self.keys)

    def sending(self, task_id: str, strategy: str, key: str, sha256: str) -> None:
        """A program is about to be sent."""
        self._take({"task_id": task_id, "strategy": strategy, "key": key, "sha256": sha256})
        self._write({"task_id": task_id, "strategy": strategy, "key": key, "sha256": sha256})

    def answered(self, key: str, verdict: SiteVerdict) -> None:
        """Its verdict has come."""
        self.verdicts[key] = verdict
        self._write({"key": key, "verdict": verdict.to_json()})

    def __enter__(self) -> SubmissionJournal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(dump_line(row))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, path: Path) -> int:
        """Take in all whole lines; returns their bytes."""
        size = 0
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    remedy = "remove the directory that it lies in: the harvest begins anew"
                    raise InputError(f"{path}:{number}", rule=f"is broken ({error})", remedy=remedy) from error
                size += len(line)
        return size

    def _take(self, row: dict[str, Any]) -> None:
        if "verdict" in row:
            self.verdicts[row["key"]] = SiteVerdict.from_json(row["verdict"])
            return
        self.keys[row["task_id"], row["sha256"]] = row["key"]
        self.counts.setdefault(row["task_id"], Counter())[row["strategy"]] += 1
