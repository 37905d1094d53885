"""The section `training` of a run's configuration: its length, batches, evaluation, checkpoints, and what it bears.

In: the values of one run. Out: TrainingConfig, checked; rules that join it with other sections are in training.py.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.errors import Fault, raise_faults

_WANDB_PROJECT = re.compile(r"[^/\\#?%:\x00-\x1f\x7f]{1,128}")
"""What wandb 0.31 takes."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The run: its length, batches, precision, evaluation, checkpoints and output."""

    output_dir: Path
    """Directory of the run: checkpoints/, metrics.jsonl, tensorboard/, config.yaml, manifest.json."""
    train_iters: int
    """Optimizer steps of the whole run."""
    global_batch_size: int
    """Samples of one step, over all ranks."""
    micro_batch_size: int = 1
    """Samples a rank runs forward and backward at a time. Memory and speed depend on it, results do not."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the model; with bf16 the optimizer keeps fp32 weights."""
    seed: int = 1
    """Seed of the initial weights, of the order of samples and of dropout. Results do not depend on the layout."""
    eval_interval: int = 0
    """Steps between evaluations, and one at the end; 0: none."""
    eval_iters: int = 10
    """Global batches of one evaluation, at most; each validation sample counts once."""
    patience: int | None = None
    """Evaluations in a row without a better validation loss with which the run ends before train_iters (paper, section
    4.4). The best step's checkpoint is kept and OUTPUT/checkpoints/best leads to it. None: no end of this kind."""
    log_interval: int = 10
    """Steps between lines of the log. metrics.jsonl has every step."""
    wandb_project: str | None = None
    """Project of Weights & Biases: metrics are written for it too, as an offline run in OUTPUT/wandb that `wandb sync`
    uploads (extra `wandb`). None: TensorBoard and metrics.jsonl only."""
    save_interval: int = 0
    """Steps between checkpoints, and one at the end; 0: only at the end."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep; 0 keeps all."""
    loss_spike_factor: float | None = None
    """A batch whose loss is not finite, or more than this many times the mean of the last loss_spike_window losses, is
    skipped: weights stay, and it is counted; so is one whose gradient is not finite. None: no batch is skipped, and a
    loss or gradient that is not finite ends the run."""
    loss_spike_window: int = 32
    """Steps whose losses a spike is measured against; before there are so many, only a loss that is not finite is
    one."""
    max_skipped_in_a_row: int = 5
    """Batches skipped one after the other with which the run ends: its weights are spoilt, not the batches."""
    hang_timeout_s: float = 600.0
    """Seconds without a sign of life of a rank after which the watchdog takes the run for hung, from its second step on
    (docs/failures.md): longer than its longest pause, which may be the writing of a checkpoint."""
    start_timeout_s: float = 1800.0
    """The same before the second step: reading the data and a checkpoint, the first kernels."""
    straggler_factor: float | None = 2.0
    """A rank that computes this many times as long as the median of its peers is named, every log_interval steps. None:
    none is."""
    keep_interval: int = 0
    """Checkpoints whose step is a multiple of this are kept for good; 0: none."""
    asynchronous_saves: bool = False
    """Write checkpoints while training goes on, from a copy in memory (12 bytes for each parameter a rank owns)."""
    init_from: Path | None = None
    """Checkpoint (step, checkpoints or run directory) whose weights the run starts from; none: random weights."""
    resume: str = "auto"
    """auto: continue from output_dir's newest whole checkpoint, if there is one; never: refuse when there is one; a
    step directory: continue from that one, whose run this must be."""

    def __post_init__(self) -> None:
        at_least = {"train_iters": 1, "global_batch_size": 1, "micro_batch_size": 1, "log_interval": 1}
        at_least |= {"loss_spike_window": 1, "max_skipped_in_a_row": 1}
        at_least |= dict.fromkeys(
            ("eval_interval", "eval_iters", "save_interval", "keep_checkpoints", "keep_interval", "seed"), 0
        )
        faults = [
            Fault(field=name, value=getattr(self, name), rule=f"must be at least {least}", remedy="see --help")
            for name, least in at_least.items()
            if getattr(self, name) < least
        ]
        for name in ("hang_timeout_s", "start_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                rule, remedy = "must be a positive number of seconds", "600 is ten minutes"
                faults.append(Fault(field=name, value=getattr(self, name), rule=rule, remedy=remedy))
        if self.straggler_factor is not None and not self.straggler_factor > 1:
            rule, remedy = "must be more than 1", "for example 2, or none to name no rank"
            faults.append(Fault(field="straggler_factor", value=self.straggler_factor, rule=rule, remedy=remedy))
        if self.patience is not None and self.patience < 1:
            rule, remedy = "must be at least 1", "for example 3, or leave it out"
            faults.append(Fault(field="patience", value=self.patience, rule=rule, remedy=remedy))
        if self.patience is not None and self.eval_interval == 0:
            rule, remedy = "needs evaluations, and eval_interval is 0", "give eval_interval, or leave it out"
            faults.append(
                Fault(field="patience", value=self.patience, rule=rule, remedy=remedy, others=("eval_interval",))
            )
        factor = self.loss_spike_factor
        if factor is not None and not factor > 1:
            rule, remedy = "must be more than 1", "for example 2, or leave it out"
            faults.append(Fault(field="loss_spike_factor", value=factor, rule=rule, remedy=remedy))
        project = self.wandb_project
        if project is not None and not _WANDB_PROJECT.fullmatch(project):
            rule, remedy = "must have 1 to 128 letters, none of them / \\ # ? % : or a line end", "for example codex"
            faults.append(Fault(field="wandb_project", value=project, rule=rule, remedy=remedy))
        raise_faults(faults)
