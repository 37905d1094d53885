"""GPT2LMHeadModel: dense attention, q, k and v in one matrix, matrices transposed (its Conv1D).

In: ModelConfig and our tensors, or config.json and Hugging Face's. Out: the other. Nothing is computed but, on the way
in, the scale of the scores: Hugging Face's model may leave 1 / sqrt(D) out or divide by the layer's number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.convert.configuration import read_model, require_values
from megatron_codex.convert.qkv import join_qkv, split_qkv
from megatron_codex.convert.renaming import MLP, embeddings_and_norm, renamed, renamed_back
from megatron_codex.convert.weights import Group, TensorSource, layer_name

MODEL_TYPE = "gpt2"

_NAMES = {
    "input_layernorm.weight": "ln_1.weight",
    "input_layernorm.bias": "ln_1.bias",
    "self_attention.linear_proj.weight": "attn.c_proj.weight",
    "self_attention.linear_proj.bias": "attn.c_proj.bias",
    **MLP,
}
_QKV = "self_attention.linear_qkv"


def configuration(model: ModelConfig) -> dict[str, Any]:
    """What config.json says of the model."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": MODEL_TYPE,
        "activation_function": "gelu_new",
        "n_layer": model.num_layers,
        "n_embd": model.hidden_size,
        "n_head": model.num_attention_heads,
        "n_positions": model.seq_length,
        "n_inner": model.ffn_hidden_size,
        "layer_norm_epsilon": model.layernorm_epsilon,
        "initializer_range": model.init_method_std,
        "resid_pdrop": model.hidden_dropout,
        "embd_pdrop": model.hidden_dropout,
        "attn_pdrop": model.attention_dropout,
        "scale_attn_weights": True,
    }


def model_config(config: Mapping[str, Any], path: Path) -> ModelConfig:
    """The model that config.json describes. path: named in errors. Raises: InputError for what a Codex model is not."""
    require_values(config, path, {"add_cross_attention": (False,)})
    fields = {
        "num_layers": "n_layer",
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "seq_length": "n_positions",
    }
    return read_model(config, path, fields, ffn_hidden_size="n_inner")


def exported(model: ModelConfig, *, vocab_size: int) -> list[Group]:
    """Hugging Face's tensors from ours."""
    H, A = model.hidden_size, model.num_attention_heads
    groups = []
    for layer in range(model.num_layers):
        ours, theirs = layer_name(layer), f"transformer.h.{layer}"

        def attention(source: TensorSource, ours: str = ours) -> Iterator[Tensor]:
            for part in ("weight", "bias"):
                yield _joined(split_qkv(source.read(f"{ours}.{_QKV}.{part}"), A))

        shapes = {f"{theirs}.attn.c_attn.weight": (H, 3 * H), f"{theirs}.attn.c_attn.bias": (3 * H,)}
        groups.append(Group(shapes=shapes, make=attention))
        groups += renamed(model, layer, _NAMES, prefix=theirs, transposed=True)
    return embeddings_and_norm(model, groups, vocab_size=vocab_size)


def imported(model: ModelConfig, config: Mapping[str, Any]) -> list[Group]:
    """Our tensors of the layers from Hugging Face's."""
    H, A = model.hidden_size, model.num_attention_heads
    groups = []
    for layer in range(model.num_layers):
        ours, theirs = layer_name(layer), f"transformer.h.{layer}"
        scale = _score_scale(config, layer, head_size=H // A)

        def attention(source: TensorSource, theirs: str = theirs, scale: float = scale) -> Iterator[Tensor]:
            for part in ("weight", "bias"):
                q, k, v = source.read(f"{theirs}.attn.c_attn.{part}").t().chunk(3)
                yield join_qkv(q * scale, k, v, A)

        groups.append(
            Group(shapes={f"{ours}.{_QKV}.weight": (3 * H, H), f"{ours}.{_QKV}.bias": (3 * H,)}, make=attention)
        )
        groups += renamed_back(model, layer, _NAMES, prefix=theirs, transposed=True)
    return groups


def _joined(parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.cat(parts).t().contiguous()


def _score_scale(config: Mapping[str, Any], layer: int, *, head_size: int) -> float:
    """By what Hugging Face multiplies a score, over our 1 / sqrt(D)."""
    scale = 1.0 if config.get("scale_attn_weights", True) else head_size**0.5
    return scale / (layer + 1) if config.get("scale_attn_by_inverse_layer_idx", False) else scale
