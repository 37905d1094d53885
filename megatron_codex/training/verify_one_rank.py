"""One rank's side of a verification: the plain model trained on the same batches, and the tolerances.

In: the weights that the layout starts from, then each step's global batch and what the layout made of it. Out: Checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from megatron_codex.config.verify import VerifyConfig
from megatron_codex.data.batch import Batch
from megatron_codex.parallel.verify_compare import Check, check_number, check_tensors, with_padding
from megatron_codex.parallel.verify_pieces import Piece
from megatron_codex.parallel.verify_reference import ReferenceAdamW, ReferenceStep, reference_step
from megatron_codex.training.schedule import learning_rate
from megatron_codex.training.verify_steps import WEIGHTS


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Largest allowed differences of the engine from float64."""

    loss: float
    """Absolute."""
    gradient: float
    """Of an element, relative to the largest of its tensor."""
    grad_norm: float
    """Relative."""
    mean: float
    """Of an element of Adam's means, relative to the largest of its tensor."""


TOLERANCES = {
    # fp32 has 24 bits, 6e-8; sums of some thousand terms, forward and back. Measured: docs/parallelism.md.
    "fp32": Tolerances(loss=1e-5, gradient=1e-5, grad_norm=1e-5, mean=2e-5),
    # bf16 has 8 bits, 4e-3 in each product. Measured: docs/parallelism.md.
    "bf16": Tolerances(loss=2e-2, gradient=1e-1, grad_norm=3e-2, mean=2e-1),
}

_UPDATE_MARGIN = 10.0
"""The weights' allowance, over what the gradients' tolerance makes of one update."""

_LARGEST_UPDATES = 2.5
"""Twice the largest update of Adam in learning rates (1.17 with betas of 0.9 and 0.95): rounding may turn its sign."""


class OneRank:
    """The plain model, trained along."""

    def __init__(self, config: VerifyConfig, weights: Mapping[str, Tensor]) -> None:
        """weights: full, float64, without rows of vocabulary padding."""
        self._config = config
        self._tolerances = TOLERANCES[config.training.precision]
        self._adam = ReferenceAdamW(dict(weights), config.optimizer)
        self._weights = dict(weights)
        self._allowed = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self._num_updates = 0

    def check_step(self, step: int, line: Mapping[str, Any], gradients: Sequence[Piece], batch: Batch) -> list[Check]:
        """Compare a step, counted from 0, with one rank's, and update one rank's weights.

        line: the step's metrics; gradients: before clipping; batch: the global one.
        """
        config, tolerances, number = self._config, self._tolerances, step + 1
        expected = reference_step(self._weights, batch, config.model)
        values = (None, None, 0) if expected is None else (expected.loss, expected.grad_norm, expected.num_tokens)
        loss, grad_norm, num_tokens = values
        checks = [
            check_number(
                f"{name}, step {number}", got=line[name], expected=value, tolerance=tolerance, relative=relative
            )
            for name, value, tolerance, relative in (
                ("num_tokens", num_tokens, 0.0, False),
                ("loss", loss, tolerances.loss, False),
                ("grad_norm", grad_norm, tolerances.grad_norm, True),
            )
        ]
        if expected is None or not gradients:
            return checks
        gradient = f"gradient, step {number}"
        # Gradients before their norm: the first tensor that differs says more.
        checks.insert(2, check_tensors(gradient, gradients, expected.gradients, tolerance=tolerances.gradient))
        rate = learning_rate(number, config.optimizer, decay_iters=config.lr_decay_iters)
        self._adam.update(expected, learning_rate=rate)
        self._num_updates += 1
        self._allow(expected, rate)
        return checks

    def take_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Run the next step on the layout's weights, so that a step's check is of that step alone: Adam turns a
        rounding of a tiny gradient into a whole update. One rank's own weights are updated all the same."""
        self._weights = dict(weights)

    def check_state(self, kind: str, pieces: Sequence[Piece]) -> list[Check]:
        """Compare the weights, or one of Adam's means, after the last step."""
        what = f"{kind}, step {self._config.steps}"
        if kind == WEIGHTS:
            return [check_tensors(what, pieces, self._adam.weights, tolerance=1.0, unit=self._allowance)]
        if self._num_updates == 0:
            return []
        return [check_tensors(what, pieces, getattr(self._adam, kind), tolerance=self._tolerances.mean)]

    def _allow(self, step: ReferenceStep, rate: float) -> None:
        """Add to each weight's allowed difference what an update may make of its gradient's tolerance.

        Adam divides a gradient by its own size, so what is a tolerable error of the tensor's gradient is a large one in
        an update whose gradient is small, up to a whole step where it is rounding alone (biases of keys: they add the
        same to every score of a query).
        """
        for name, gradient in step.gradients.items():
            error = self._tolerances.gradient * float(gradient.abs().max()) * self._adam.clip_scale(step)
            # exp_avg_sq begins at (1 - beta2) g^2: its root times this is the gradient's size or more.
            size = (self._adam.exp_avg_sq[name] / (1 - self._config.optimizer.adam_beta2)).sqrt()
            self._allowed[name] += rate * (_UPDATE_MARGIN * error / size).nan_to_num(_LARGEST_UPDATES).clamp(
                max=_LARGEST_UPDATES
            )

    def _allowance(self, name: str, weight: Tensor) -> Tensor:
        return with_padding(self._allowed[name], tuple(weight.shape)) + 1e-6 * weight.abs().max()
