"""The eight preset files load, and say what config/presets.py says."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.config.load import load_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.presets import PRESET_NAMES, PRESETS, PresetName
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "examples" / "configs"
NEEDED = ["training.output_dir=out", "data.data_prefix=code"]
SIZES = {"codex_12m": 12e6, "codex_25m": 25e6, "codex_42m": 42e6, "codex_85m": 85e6, "codex_300m": 300e6}
SIZES |= {"codex_679m": 679e6, "codex_2.5b": 2.5e9, "codex_12b": 12e9}


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_preset_file_is_the_preset(name: PresetName) -> None:
    config, preset = load_config(TrainConfig, CONFIGS / f"{name}.yaml", NEEDED), PRESETS[name]
    assert config.model == ModelConfig(preset=name)
    assert config.optimizer.lr == preset.lr
    assert config.training.global_batch_size * config.model.seq_length == preset.batch_tokens
    assert config.training.train_iters * preset.batch_tokens == pytest.approx(100e9, rel=1e-4)
    config.check_world_size(config.parallel.model_parallel_size * 4)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_shape_has_the_size_of_its_name(name: PresetName) -> None:
    assert ModelConfig(preset=name).num_layer_parameters == pytest.approx(SIZES[name], rel=0.06)


def test_a_field_of_a_preset_may_be_set() -> None:
    model = ModelConfig(preset="codex_12m", seq_length=512)
    assert (model.num_layers, model.hidden_size, model.seq_length) == (4, 512, 512)


def test_without_a_preset_the_shape_is_required() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(num_layers=2)
    assert [fault.field for fault in caught.value.faults] == ["hidden_size", "num_attention_heads", "seq_length"]
