"""Batches whose loss is out of line: which are skipped, and when the run ends."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import ConfigError, WorkError
from megatron_codex.training.spikes import Spikes


def _config(factor: float | None = 2.0, window: int = 3, most: int = 2) -> TrainingConfig:
    return TrainingConfig(
        output_dir=Path("x"),
        train_iters=1,
        global_batch_size=1,
        loss_spike_factor=factor,
        loss_spike_window=window,
        max_skipped_in_a_row=most,
    )


def _after(losses: list[float], config: TrainingConfig) -> Spikes:
    spikes = Spikes()
    for step, loss in enumerate(losses):
        accepts = spikes.acceptance(config)
        spikes = spikes.after(step, loss, config, skipped=accepts is not None and not accepts(loss))
    return spikes


def test_a_loss_above_the_factor_is_skipped_and_not_measured_against() -> None:
    spikes = _after([5.0, 4.0, 3.0, 8.1, 7.9], _config())
    assert spikes == Spikes(num_skipped=1, num_in_a_row=0, recent_losses=(4.0, 3.0, 7.9))


def test_before_the_window_is_full_only_a_loss_that_is_not_finite_is_skipped() -> None:
    assert _after([1.0, 100.0, float("nan")], _config()).num_skipped == 1
    assert _after([1.0, 100.0, float("inf"), 100.0, float("-inf")], _config()).num_skipped == 2


def test_too_many_in_a_row_end_the_run_in_one_line() -> None:
    with pytest.raises(WorkError, match=r"^step 5: loss is 9, the limit 2, and 2 batches in a row") as caught:
        _after([1.0, 1.0, 1.0, 9.0, 9.0], _config())
    assert "\n" not in str(caught.value)
    assert _after([1.0, 1.0, 1.0, 9.0, 1.0, 9.0], _config()).num_skipped == 2


def test_without_a_factor_nothing_is_skipped_or_kept() -> None:
    assert Spikes().acceptance(_config(factor=None)) is None
    assert _after([1.0, 1.0, 1.0, 99.0], _config(factor=None)) == Spikes()


def test_the_state_survives_a_manifest() -> None:

    spikes = _after([5.0, 0.1, 3.0, 8.1], _config())
    assert Spikes.from_manifest(json.loads(json.dumps(dataclasses.asdict(spikes)))) == spikes
    assert Spikes.from_manifest({}) == Spikes()


@pytest.mark.parametrize("factor", [1.0, 0.0, float("nan")])
def test_a_factor_that_would_skip_everything_is_refused(factor: float) -> None:
    with pytest.raises(ConfigError, match=r"loss_spike_factor: got .*; must be more than 1"):
        _config(factor=factor)
