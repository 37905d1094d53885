"""Initial weights: by name and seed, whatever the padding."""

from __future__ import annotations

import math

import pytest
import torch

from megatron_codex.config.model import ModelConfig
from megatron_codex.model.initialization import WORD_EMBEDDINGS, initial_tensor

MODEL = ModelConfig(num_layers=8, hidden_size=64, num_attention_heads=4, seq_length=32, init_method_std=0.02)


def _draw(name: str, *shape: int, seed: int = 1, vocab_size: int = 300) -> torch.Tensor:
    return initial_tensor(name, shape, model=MODEL, vocab_size=vocab_size, seed=seed)


def test_rows_of_padding_are_zero_and_draw_nothing() -> None:
    narrow, wide = _draw(WORD_EMBEDDINGS, 384, 64), _draw(WORD_EMBEDDINGS, 512, 64)
    assert torch.equal(narrow[:300], wide[:300])
    assert not wide[300:].any() and wide[:300].all()


def test_each_tensor_and_seed_has_its_own_draw() -> None:
    first = _draw("decoder.layers.0.mlp.linear_fc1.weight", 64, 64)
    assert torch.equal(first, _draw("decoder.layers.0.mlp.linear_fc1.weight", 64, 64))
    assert not torch.equal(first, _draw("decoder.layers.1.mlp.linear_fc1.weight", 64, 64))
    assert not torch.equal(first, _draw("decoder.layers.0.mlp.linear_fc1.weight", 64, 64, seed=2))


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("decoder.layers.3.self_attention.linear_qkv.weight", 0.02),
        ("embedding.position_embeddings.weight", 0.02),
        ("decoder.layers.3.self_attention.linear_proj.weight", 0.02 / math.sqrt(16)),
        ("decoder.layers.3.mlp.linear_fc2.weight", 0.02 / math.sqrt(16)),
    ],
)
def test_standard_deviations(name: str, std: float) -> None:
    assert _draw(name, 400, 400).std().item() == pytest.approx(std, rel=0.02)


def test_norms_start_at_one_and_biases_at_zero() -> None:
    assert torch.equal(_draw("decoder.final_layernorm.weight", 8), torch.ones(8))
    assert torch.equal(_draw("decoder.layers.0.input_layernorm.bias", 8), torch.zeros(8))
    assert torch.equal(_draw("decoder.layers.0.mlp.linear_fc1.bias", 8), torch.zeros(8))
