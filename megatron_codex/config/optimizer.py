"""AdamW and its learning-rate schedule: linear warm-up, then cosine decay (Codex paper, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from megatron_codex.config.presets import WARMUP_ITERS
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW; the defaults are the paper's, the learning rate depends on the model's size."""

    lr: float
    """Peak learning rate (GPT-3: 6e-4 at 125M parameters, 1e-4 at 13B)."""
    min_lr: float | None = None
    """Learning rate at the end of the decay and after it; none: a tenth of lr."""
    lr_warmup_iters: int = WARMUP_ITERS
    """Steps of linear warm-up from 0."""
    lr_decay_iters: int | None = None
    """Step at which the cosine decay ends; none: training.train_iters."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices and embeddings; biases and layer norms have none."""
    adam_beta1: float = 0.9
    """Decay of the gradient's running mean."""
    adam_beta2: float = 0.95
    """Decay of the squared gradient's running mean."""
    adam_eps: float = 1e-8
    """Added to the root of the squared gradient's mean."""
    backend: Literal["torch", "flat_adam", "apex", "transformer_engine"] = "torch"
    """Program of AdamW: torch's fused one; this project's over whole buffers (its CUDA kernel, or the same in torch);
    NVIDIA Apex's or Transformer Engine's FusedAdam (CUDA; not run by this project's tests)."""
    clip_grad: float = 1.0
    """Largest norm of the whole gradient; a larger one is scaled down to it."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field=name, value=getattr(self, name), rule=rule, remedy=remedy)
            for name, holds, rule, remedy in self._rules()
            if not holds
        ]
        raise_faults(faults)

    def _rules(self) -> list[tuple[str, bool, str, str]]:
        infinity = float("inf")
        floor = self.min_lr if self.min_lr is not None else 0.0
        return [
            ("lr", 0 < self.lr < infinity, "must be positive", "for example 6e-4"),
            ("min_lr", 0 <= floor <= max(self.lr, 0), f"must be between 0 and lr = {self.lr}", "leave it out"),
            ("lr_warmup_iters", self.lr_warmup_iters >= 0, "must not be negative", "0 switches the warm-up off"),
            ("lr_decay_iters", (self.lr_decay_iters or 1) >= 1, "must be at least 1", "leave it out"),
            ("weight_decay", 0 <= self.weight_decay < infinity, "must not be negative", "0 switches it off"),
            ("adam_beta1", 0 <= self.adam_beta1 < 1, "must be in [0, 1)", "the paper's is 0.9"),
            ("adam_beta2", 0 <= self.adam_beta2 < 1, "must be in [0, 1)", "the paper's is 0.95"),
            ("adam_eps", 0 < self.adam_eps < infinity, "must be positive", "the paper's is 1e-8"),
            ("clip_grad", 0 < self.clip_grad < infinity, "must be positive", "a large value never clips"),
        ]

    @property
    def final_lr(self) -> float:
        """Learning rate at the end of the decay."""
        return self.lr / 10 if self.min_lr is None else self.min_lr
