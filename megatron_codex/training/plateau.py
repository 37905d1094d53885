"""When the validation loss no longer falls: the end of a fine-tuning run (Codex paper, section 4.4).

In: the losses of a run's evaluations. Out: which was the best, and whether the run has ended. The state is part of
every checkpoint, so a resumed run ends where the whole run ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from megatron_codex.config.training_run import TrainingConfig


@dataclass(frozen=True)
class Plateau:
    """What the evaluations have shown. Equal on all ranks, as losses are."""

    best_loss: float | None = None
    """None before the first evaluation, and where none is looked at."""
    best_step: int | None = None
    """Steps done when it was measured."""
    num_worse: int = 0
    """Evaluations since then."""

    @classmethod
    def from_manifest(cls, stored: Mapping[str, Any]) -> Self:
        """The state that a checkpoint's manifest has; of one without it, that of a new run."""
        loss, step = stored.get("best_loss"), stored.get("best_step")
        return cls(
            best_loss=None if loss is None else float(loss),
            best_step=None if step is None else int(step),
            num_worse=int(stored.get("num_worse", 0)),
        )

    def after(self, step: int, loss: float | None, config: TrainingConfig) -> Self:
        """The state after an evaluation when `step` steps were done. loss: None where it had no token, which says
        nothing."""
        if config.patience is None or loss is None:
            return self
        if self.best_loss is None or loss < self.best_loss:
            return replace(self, best_loss=loss, best_step=step, num_worse=0)
        return replace(self, num_worse=self.num_worse + 1)

    def has_ended(self, config: TrainingConfig) -> bool:
        """Whether the run's patience is used up."""
        return config.patience is not None and self.num_worse >= config.patience
