"""Batches whose loss or gradient is out of line: skipped, counted, and the end of the run when they do not stop.

In: the losses of a run, step by step, and gradients that are not finite. Out: whether a batch's gradient may change the
weights. The state is part of every checkpoint, so a resumed run skips what the whole run skips.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import WorkError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Spikes:
    """What a run has skipped so far. Equal on all ranks, as losses are."""

    num_skipped: int = 0
    """Batches skipped in all."""
    num_in_a_row: int = 0
    """Batches skipped since the last that was not."""
    recent_losses: tuple[float, ...] = ()
    """Losses of the last loss_spike_window steps that were not skipped; empty where spikes are not looked for."""

    @classmethod
    def from_manifest(cls, stored: Mapping[str, Any]) -> Self:
        """The state that a checkpoint's manifest has; of one without it, that of a new run."""
        return cls(
            num_skipped=int(stored.get("num_skipped", 0)),
            num_in_a_row=int(stored.get("num_in_a_row", 0)),
            recent_losses=tuple(float(loss) for loss in stored.get("recent_losses", ())),
        )

    def acceptance(self, config: TrainingConfig) -> Callable[[float], bool] | None:
        """Whether to train on a batch of a given loss; None where no batch is to be skipped."""
        if config.loss_spike_factor is None:
            return None
        limit = self._limit(config, config.loss_spike_factor)
        return lambda loss: math.isfinite(loss) and loss <= limit

    def after(
        self, step: int, loss: float, config: TrainingConfig, *, skipped: bool, bad_gradient: str | None = None
    ) -> Self:
        """The state after a step, counted from 0. bad_gradient: why it was skipped, where not for its loss.

        Raises: WorkError when max_skipped_in_a_row batches were skipped one after the other.
        """
        if config.loss_spike_factor is None:
            return self
        if not skipped:
            return replace(self, num_in_a_row=0, recent_losses=(*self.recent_losses, loss)[-config.loss_spike_window :])
        limit = self._limit(config, config.loss_spike_factor)
        reason = bad_gradient or f"its loss is {loss:.6g} and the limit {limit:.6g}"
        _logger.warning("step %d: skipped, %s", step + 1, reason)
        in_a_row = self.num_in_a_row + 1
        if in_a_row == config.max_skipped_in_a_row:
            last = bad_gradient or f"loss is {loss:.6g}, the limit {limit:.6g}"
            raise WorkError(
                f"step {step + 1}: {last}, and {in_a_row} batches in a row were "
                "skipped for theirs; training stops and the last checkpoint stays; lower optimizer.lr or raise "
                "training.loss_spike_factor, and continue from a checkpoint before the spike"
            )
        return replace(self, num_skipped=self.num_skipped + 1, num_in_a_row=in_a_row)

    def _limit(self, config: TrainingConfig, factor: float) -> float:
        if len(self.recent_losses) < config.loss_spike_window:
            return math.inf
        recent = self.recent_losses[-config.loss_spike_window :]
        return factor * sum(recent) / len(recent)
