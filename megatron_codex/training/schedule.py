"""The learning rate of a step: linear warm-up, then cosine decay (Codex paper, section 3.2; GPT-3, appendix B)."""

from __future__ import annotations

import math

from megatron_codex.config.optimizer import OptimizerConfig


def learning_rate(step: int, config: OptimizerConfig, *, decay_iters: int) -> float:
    """Learning rate of a step, counted from 1. It peaks at lr_warmup_iters; from decay_iters on it is the final one."""
    warmup = config.lr_warmup_iters
    if step <= warmup:
        return config.lr * step / warmup
    if step >= decay_iters:
        return config.final_lr
    done = (step - warmup) / (decay_iters - warmup)
    return config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * done)) / 2
