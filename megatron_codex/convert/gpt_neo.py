"""GPTNeoForCausalLM: every second layer sees a window only, scores are not scaled, q, k and v have no biases.

In: ModelConfig and our tensors, or config.json and Hugging Face's. Out: the other. GPT-Neo's window is our band_width
(both count one's own position). On the way out the scale 1 / sqrt(D) goes into the query weights, and biases into the
weights, for a layer norm's output x = g n + b has a sum that does not depend on the input: the n add up to 0, so the
x_i / g_i add up to s = sum of b_i / g_i. With f_i = 1 / g_i the matrix W + c f^T / s then gives W x + c. To keep s far
from 0 the norm's bias gets d = g (or -g) more, which c takes off again: c = bias - W d. Nothing is approximated, and
the logit check at the end of each conversion measures the rounding.
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
from megatron_codex.errors import InputError

MODEL_TYPE = "gpt_neo"

_NORM_WEIGHT = {"input_layernorm.weight": "ln_1.weight"}
_NORM_BIAS = {"input_layernorm.bias": "ln_1.bias"}
_PROJECTION = {f"self_attention.linear_proj.{part}": f"attn.attention.out_proj.{part}" for part in ("weight", "bias")}
_QKV = "self_attention.linear_qkv"


def configuration(model: ModelConfig) -> dict[str, Any]:
    """What config.json says of the model."""
    kinds = [["global", "local"], model.num_layers // 2]
    rest = [[["global"], 1]] if model.num_layers % 2 else []
    return {
        "architectures": ["GPTNeoForCausalLM"],
        "model_type": MODEL_TYPE,
        "activation_function": "gelu_new",
        "num_layers": model.num_layers,
        "hidden_size": model.hidden_size,
        "num_heads": model.num_attention_heads,
        "max_position_embeddings": model.seq_length,
        "intermediate_size": model.ffn_hidden_size,
        "attention_types": [*([kinds] if kinds[1] else []), *rest],
        "window_size": model.band_width,
        "layer_norm_epsilon": model.layernorm_epsilon,
        "initializer_range": model.init_method_std,
        "resid_dropout": model.hidden_dropout,
        "embed_dropout": model.hidden_dropout,
        "attention_dropout": model.attention_dropout,
    }


def model_config(config: Mapping[str, Any], path: Path) -> ModelConfig:
    """The model that config.json describes. path: named in errors. Raises: InputError for what a Codex model is not."""
    require_values(config, path, {})
    fields = {
        "num_layers": "num_layers",
        "hidden_size": "hidden_size",
        "num_attention_heads": "num_heads",
        "seq_length": "max_position_embeddings",
    }
    kinds = _attention_kinds(config, path)
    banded = [layer for layer, kind in enumerate(kinds) if kind == "local"]
    if banded and banded != list(range(1, len(kinds), 2)):
        rule = "attention_types must be all global, or global and local in turn"
        raise InputError(str(path), value=kinds, rule=rule, remedy="this model cannot be written as a Codex model")
    pattern = {"attention_pattern": "alternating", "band_width": config.get("window_size", 256)} if banded else {}
    return read_model(config, path, fields, ffn_hidden_size="intermediate_size", **pattern)


def _attention_kinds(config: Mapping[str, Any], path: Path) -> list[str]:
    """Of each layer: "global" or "local"."""
    found = config.get("attention_types", [[["global", "local"], 12]])
    try:
        kinds = [kind for pattern, count in found for _ in range(count) for kind in pattern]
    except (TypeError, ValueError):
        kinds = []
    if len(kinds) != config.get("num_layers") or not {"global", "local"}.issuperset(kinds):
        rule = f"attention_types must say global or local of each of {config.get('num_layers')} layers"
        raise InputError(str(path), value=found, rule=rule, remedy="copy config.json again")
    return kinds


def exported(model: ModelConfig, *, vocab_size: int) -> list[Group]:
    """Hugging Face's tensors from ours."""
    H = model.hidden_size
    groups = []
    for layer in range(model.num_layers):
        theirs = f"transformer.h.{layer}"
        kept = _NORM_WEIGHT | _PROJECTION
        groups += renamed(model, layer, kept, prefix=theirs, transposed=False)
        attention = f"{theirs}.attn.attention"
        shapes: dict[str, tuple[int, ...]] = {f"{theirs}.ln_1.bias": (H,)}
        shapes |= {f"{attention}.{name}_proj.weight": (H, H) for name in "qkv"}

        def make(source: TensorSource, layer: int = layer) -> Iterator[Tensor]:
            return _without_biases(source, layer, model.num_attention_heads)

        groups.append(Group(shapes=shapes, make=make))
        groups += renamed(model, layer, MLP, prefix=theirs, transposed=False)
    return embeddings_and_norm(model, groups, vocab_size=vocab_size)


def _without_biases(source: TensorSource, layer: int, num_heads: int) -> Iterator[Tensor]:
    """The layer norm's bias [H] and query, key and value weights [H, H] of an equal attention."""
    name = layer_name(layer)
    q_HH, k_HH, v_HH = split_qkv(source.read(f"{name}.{_QKV}.weight"), num_heads)
    biases = split_qkv(source.read(f"{name}.{_QKV}.bias"), num_heads)
    norm_H = source.read(f"{name}.input_layernorm.bias")
    if any(bias_H.any() for bias_H in biases):
        gain_H = source.read(f"{name}.input_layernorm.weight").double()
        shift_H, constant_H = _constant_of_norm(gain_H, norm_H.double())
        norm_H = (norm_H.double() + shift_H).float()
        q_HH, k_HH, v_HH = (
            (weight_HH + torch.outer(bias_H - weight_HH.double() @ shift_H, constant_H)).float()
            for weight_HH, bias_H in zip((q_HH, k_HH, v_HH), biases, strict=True)
        )
    yield norm_H
    yield q_HH * (len(q_HH) // num_heads) ** -0.5
    yield k_HH
    yield v_HH


def _constant_of_norm(gain_H: Tensor, bias_H: Tensor) -> tuple[Tensor, Tensor]:
    """(d, f / s), each [H]: the output x of a layer norm whose bias is d larger has f . x / s = 1 for any input."""
    constant = torch.nonzero(gain_H == 0).flatten()
    if len(constant):  # such a channel is its bias
        weight_H = torch.zeros_like(gain_H)
        weight_H[constant[0]] = 1.0
        shift_H = weight_H.clone()
    else:
        weight_H, shift_H = 1 / gain_H, gain_H.clone()
    if float(weight_H @ bias_H) < 0:
        shift_H = -shift_H
    return shift_H, weight_H / (weight_H @ (bias_H + shift_H))


def imported(model: ModelConfig, config: Mapping[str, Any]) -> list[Group]:
    """Our tensors of the layers from Hugging Face's."""
    H, A = model.hidden_size, model.num_attention_heads
    names = _NORM_WEIGHT | _NORM_BIAS | _PROJECTION | MLP
    groups = []
    for layer in range(model.num_layers):
        ours, theirs = layer_name(layer), f"transformer.h.{layer}"

        def attention(source: TensorSource, theirs: str = theirs) -> Iterator[Tensor]:
            q, k, v = (source.read(f"{theirs}.attn.attention.{name}_proj.weight") for name in "qkv")
            yield join_qkv(q * (H // A) ** 0.5, k, v, A)
            yield torch.zeros(3 * H)

        groups.append(
            Group(shapes={f"{ours}.{_QKV}.weight": (3 * H, H), f"{ours}.{_QKV}.bias": (3 * H,)}, make=attention)
        )
        groups += renamed_back(model, layer, names, prefix=theirs, transposed=False)
    return groups
