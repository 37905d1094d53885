"""What a conversion did, for who called it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_codex.convert.check import LogitCheck


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A conversion that is done."""

    output: Path
    what: str
    """In a few words."""
    check: LogitCheck
