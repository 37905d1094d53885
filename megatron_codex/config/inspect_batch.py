"""Configuration of tools/inspect_batch.py: a training configuration, and which of its batches to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.config.bounds import below
from megatron_codex.config.training import TrainConfig
from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class InspectedTrainingConfig(TrainingConfig):
    """The run's batches and precision, as in training. Nothing is written, and nothing is resumed."""

    output_dir: Path = Path("not-written")
    """Not used: inspection writes no run."""


@dataclass(frozen=True, kw_only=True)
class InspectBatchConfig(TrainConfig):
    """Show the global batch of a step as the model sees it, and check it."""

    training: InspectedTrainingConfig
    """The run whose batch is looked at."""
    step: int = 1
    """Step of the run, counted from 1 as in its log."""
    split: Literal["train", "valid"] = "train"
    """Batches of training, or of an evaluation."""
    rows: int = 4
    """Rows to print, from the first; 0: none. All are checked, and the HTML page has all."""
    ids: bool = False
    """Print each position of these rows on a line of its own: token, label, position, whether it is trained on."""
    html: Path | None = None
    """Page to write: every row in colours, each token with its id, label, position and document."""
    color: Literal["auto", "always", "never"] = "auto"
    """Colours on the terminal; auto: where the output is one."""

    def __post_init__(self) -> None:
        faults = below(self, 1, "step") + below(self, 0, "rows")
        if self.split == "valid" and self.training.eval_interval == 0:
            rule = "is not read by this run: training.eval_interval is 0"
            remedy = "give training.eval_interval, or split=train"
            faults.append(Fault(field="split", value="valid", rule=rule, remedy=remedy))
        raise_faults([*faults, *self._faults()])
