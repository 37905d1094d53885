"""What training runs wrote of their steps, read once however many sections of the page show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.jsonl import read_jsonl

Steps = Sequence[Mapping[str, Any]]
"""The lines of a metrics.jsonl, at least one."""


class Metrics:
    """The metrics.jsonl of runs, by output directory."""

    def __init__(self) -> None:
        self._read: dict[Path, Steps] = {}

    def of(self, run: Path) -> Steps:
        """A run's steps. Raises: InputError for a file that is missing or has no line."""
        if run not in self._read:
            path = run / "metrics.jsonl"
            steps = list(read_jsonl(path))
            if not steps:
                raise InputError(str(path), rule="has no line", remedy="the run made no step: look at its log")
            self._read[run] = steps
        return self._read[run]

    def held_out_losses(self, run: Path) -> list[tuple[int, float]]:
        """(step, loss per token in nats) of a run's evaluations; empty for a run without one."""
        return [(row["step"], row["valid_loss"]) for row in self.of(run) if row.get("valid_loss") is not None]
