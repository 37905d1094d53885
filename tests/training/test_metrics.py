"""metrics.jsonl after an interruption, and the FLOP count behind mfu."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.presets import PRESETS
from megatron_codex.training.metrics import MetricsWriter, model_flops, read_metrics, shares_of_positions


def test_lines_after_the_resumed_step_are_cut(tmp_path: Path) -> None:
    lines = [f'{{"step": {step}, "loss": {step / 2}}}\n' for step in range(1, 7)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 7, "lo')
    with MetricsWriter(tmp_path, resumed_step=4) as writer:
        writer.write({"step": 5, "loss": 9.0})
        assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    assert read_metrics(tmp_path)[-1]["loss"] == 9.0
    assert any((tmp_path / "tensorboard").iterdir())


def test_shares_of_a_run_weigh_each_step_by_its_positions() -> None:
    lines = [
        {"step": 1},  # of an earlier version
        {"step": 2, "num_positions": 100, "padding_share": 0.5, "masked_share": 0.9},
        {"step": 3, "num_positions": 300, "padding_share": 0.1, "masked_share": 0.5},
    ]
    assert shares_of_positions(lines) == pytest.approx({"padding_share": 0.2, "masked_share": 0.6})
    assert shares_of_positions(lines[:1]) == {}


def test_flops_of_12b_are_six_for_each_weight_and_token() -> None:
    preset = PRESETS["codex_12b"]
    model = ModelConfig(preset="codex_12b")
    flops = model_flops(model, vocab_size=50_281, num_positions=preset.batch_tokens, seq_length=2048)
    weights = 12 * 40 * 5120**2 + 50_281 * 5120
    attention = 12 * 40 * 5120 * 2048
    assert flops == pytest.approx(preset.batch_tokens * (6 * weights + attention), rel=1e-3)
