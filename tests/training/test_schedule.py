"""The learning rate: warm-up, cosine, floor."""

from __future__ import annotations

import pytest

from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.training.schedule import learning_rate

CONFIG = OptimizerConfig(lr=1.0, min_lr=0.2, lr_warmup_iters=4)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(1, 0.25), (4, 1.0), (12, 0.6), (20, 0.2), (500, 0.2)],
    ids=["first", "peak", "half-way", "end", "after"],
)
def test_learning_rate_of_a_step(step: int, expected: float) -> None:
    assert learning_rate(step, CONFIG, decay_iters=20) == pytest.approx(expected)


def test_without_warm_up_the_first_step_is_near_the_peak() -> None:
    config = OptimizerConfig(lr=1.0, lr_warmup_iters=0)
    assert learning_rate(1, config, decay_iters=1000) == pytest.approx(1.0, abs=1e-4)
    assert learning_rate(1000, config, decay_iters=1000) == pytest.approx(0.1)
