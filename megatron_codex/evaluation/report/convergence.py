"""The section on how fast training runs converge: steps until one has another's best held-out loss.

Paper, section 3.2: fine-tuning from GPT ends no better than training from scratch, but converges more quickly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.report import ConvergencePart, TrainingPart
from megatron_codex.errors import InputError
from megatron_codex.evaluation.report.markup import Content, Html, table, tag
from megatron_codex.evaluation.report.metrics import Metrics

_NOTE = "Of one run each, at the steps of their evaluations: no interval."


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """When each of two runs first had the slower one's best held-out loss."""

    claim: str
    loss: float
    """That loss, nats per token."""
    faster_step: int | None
    """None: the run that should be faster never had it."""
    slower_step: int

    @property
    def outcome(self) -> str:
        """ "seen" or "not shown"."""
        return "seen" if self.faster_step is not None and self.faster_step < self.slower_step else "not shown"

    @property
    def steps(self) -> str:
        """In words."""
        first = "never" if self.faster_step is None else f"step {self.faster_step:,}"
        return f"{first} against step {self.slower_step:,}, loss {self.loss:.3f}"


def converge(parts: Sequence[ConvergencePart], training: Sequence[TrainingPart], metrics: Metrics) -> list[Convergence]:
    """Compare the held-out losses of the named runs. Raises: InputError for a run that has none."""
    runs = {part.label: part.path for part in training}
    found = []
    for part in parts:
        slower, faster = (_held_out(runs[label], metrics) for label in (part.slower, part.faster))
        loss, slower_step = min((loss, step) for step, loss in slower)
        faster_step = next((step for step, reached in faster if reached <= loss), None)
        found.append(Convergence(claim=part.claim, loss=loss, faster_step=faster_step, slower_step=slower_step))
    return found


def convergence_section(found: Sequence[Convergence]) -> list[Html]:
    """The table of them; nothing where nothing was asked."""
    if not found:
        return []
    rows: list[list[Content]] = [[one.claim, one.steps, one.outcome] for one in found]
    return [table(["claim", "reached", "in this run"], rows, kind="text"), tag("p", _NOTE, class_="soft")]


def _held_out(run: Path, metrics: Metrics) -> list[tuple[int, float]]:
    losses = metrics.held_out_losses(run)
    if not losses:
        rule, remedy = "has no valid_loss", "train it with training.eval_interval and held-out data"
        raise InputError(str(run / "metrics.jsonl"), rule=rule, remedy=remedy)
    return losses
