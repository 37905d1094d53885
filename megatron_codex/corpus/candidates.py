"""What the readers of inputs give to the filters: a source file as found, or the reason why it could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

KEPT = "kept"
NOT_A_FILE = "not_a_file"
UNREADABLE = "unreadable"
ARCHIVE_TOO_LARGE = "archive_too_large"
STALLED = "stalled"
BROKEN_NOTEBOOK = "broken_notebook"
NOT_PYTHON = "not_python"
TOO_LARGE = "too_large"
EMPTY = "empty"
UNDECODABLE = "undecodable"
NUL_BYTES = "nul_bytes"
AUTO_GENERATED = "auto_generated"
AVERAGE_LINE_LENGTH = "average_line_length"
MAXIMUM_LINE_LENGTH = "maximum_line_length"
LOW_ALPHANUMERIC = "low_alphanumeric"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"
CONTAMINATED = "contaminated"

REASONS = {
    NOT_A_FILE: "a link, pipe or device with a source file's name, or a repository's submodule",
    UNREADABLE: "could not be read, or the archive is damaged or ends early (counted once for the archive)",
    ARCHIVE_TOO_LARGE: "holds more than max_archive_bytes (counted once for the archive, what came before is read)",
    STALLED: "git gave nothing for git_timeout_s (counted once for the repository, what came before is read)",
    NOT_PYTHON: "a table's row or a notebook in none of the languages that are read",
    BROKEN_NOTEBOOK: "a notebook that is not JSON of nbformat 3 or 4",
    TOO_LARGE: "of max_file_bytes or more",
    EMPTY: "nothing but white space",
    UNDECODABLE: "not text in its declared encoding (PEP 263), by default UTF-8",
    NUL_BYTES: "contains NUL, so it is no Python source",
    AUTO_GENERATED: "its head says that a program wrote it",
    AVERAGE_LINE_LENGTH: "average line above max_average_line_length",
    MAXIMUM_LINE_LENGTH: "a line above max_line_length",
    LOW_ALPHANUMERIC: "letters and digits below min_alphanumeric_share",
    DUPLICATE: "same text as an earlier file",
    NEAR_DUPLICATE: "nearly the same text as an earlier file (near_duplicates)",
    CONTAMINATED: "holds a problem that is used for measuring (decontamination)",
}
"""Why a file is dropped, in the order in which the reasons are tried: the first that holds is counted."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One source file of an input, before any filter."""

    path: str
    """Its name inside the source, with forward slashes."""
    source: str
    """The input or archive that holds it."""
    content: bytes | str = b""
    """Its bytes; text where the source (a table) stores text."""
    size_bytes: int = 0
    repository: str = ""
    licence: str = ""
    language: str = "Python"
    """A name of corpus/languages.py."""
    fault: str = ""
    """A key of REASONS when it was not read, else empty."""


@dataclass
class Tally:
    """Files and bytes per reason, KEPT among them."""

    files: Counter[str] = field(default_factory=Counter)
    size_bytes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, files: Mapping[str, int], size_bytes: Mapping[str, int]) -> Self:
        """A tally with these counts."""
        return cls(Counter(files), Counter(size_bytes))

    def count(self, reason: str, size_bytes: int, *, files: int = 1) -> None:
        """Add a file, or several of that size together."""
        self.files[reason] += files
        self.size_bytes[reason] += size_bytes

    def move(self, source: str, target: str, size_bytes: int, *, files: int = 1) -> None:
        """Count a file of `source` under `target` instead, or several of that size together."""
        self.count(source, -size_bytes, files=-files)
        self.count(target, size_bytes, files=files)

    def add(self, other: Tally) -> None:
        """Add another tally's counts."""
        self.files.update(other.files)
        self.size_bytes.update(other.size_bytes)
