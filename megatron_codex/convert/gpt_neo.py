"""GPTNeoForCausalLM: every second layer sees a window only, scores are not scaled, q, k and v have no biases.

In: ModelConfig and our tensors, or config.json and Hugging Face's. Out: the other. GPT-Neo's window is our band_width
(both count one's own position). On the way out a layer's attention is rewritten as an equal one in its form:

* the scale 1 / sqrt(D) goes into the query weights;
* a bias of the keys adds the same to every score of a query, which softmax does not see: it is left out;
* a bias of the values comes out of attention as it is, for its weights add up to 1: it goes through the output
  projection into that one's bias;
* a bias b of the queries becomes part of the layer norm before: with d so that W_q d = b, the norm's bias plus d gives
  queries with their bias. Keys then have W_k d more (not seen) and values W_v d more, which is taken off again.

W_q must be invertible for the last; d is found in float64. Written and original agree but for rounding, which the logit
check at the end of each conversion measures.
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
from megatron_codex.convert.renaming import embeddings_and_norm, renamed, renamed_back
from megatron_codex.convert.weights import Group, TensorSource, layer_name
from megatron_codex.errors import InputError, WorkError

MODEL_TYPE = "gpt_neo"

_NORM_WEIGHT = {"input_layernorm.weight": "ln_1.weight"}
_NORM_BIAS = {"input_layernorm.bias": "ln_1.bias"}
_PROJECTION_WEIGHT = {"self_attention.linear_proj.weight": "attn.attention.out_proj.weight"}
_PROJECTION_BIAS = {"self_attention.linear_proj.bias": "attn.attention.out_proj.bias"}
_MLP = {
    "pre_mlp_layernorm.weight": "ln_2.weight",
    "pre_mlp_layernorm.bias": "ln_2.bias",
    "mlp.linear_fc1.weight": "mlp.c_fc.weight",
    "mlp.linear_fc1.bias": "mlp.c_fc.bias",
    "mlp.linear_fc2.weight": "mlp.c_proj.weight",
    "mlp.linear_fc2.bias": "mlp.c_proj.bias",
}
_QKV = "self_attention.linear_qkv"
_LARGEST_RESIDUAL = 1e-4
"""Of W_q d = b, relative to b, once d is rounded to float32: a worse one means that W_q is singular for this b."""


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
        groups += renamed(model, layer, _NORM_WEIGHT | _PROJECTION_WEIGHT, prefix=theirs, transposed=False)
        attention = f"{theirs}.attn.attention"
        shapes: dict[str, tuple[int, ...]] = {f"{attention}.{name}_proj.weight": (H, H) for name in "qkv"}
        shapes |= {f"{attention}.out_proj.bias": (H,), f"{theirs}.ln_1.bias": (H,)}

        def make(source: TensorSource, layer: int = layer) -> Iterator[Tensor]:
            return _without_biases(source, layer, model.num_attention_heads)

        groups.append(Group(shapes=shapes, make=make))
        groups += renamed(model, layer, _MLP, prefix=theirs, transposed=False)
    return embeddings_and_norm(model, groups, vocab_size=vocab_size)


def _without_biases(source: TensorSource, layer: int, num_heads: int) -> Iterator[Tensor]:
    """Query, key and value weights, the output projection's bias and the layer norm's, of an equal attention."""
    name = layer_name(layer)
    q_HH, k_HH, v_HH = split_qkv(source.read(f"{name}.{_QKV}.weight"), num_heads)
    q_H, _, v_H = split_qkv(source.read(f"{name}.{_QKV}.bias"), num_heads)
    shift_H = _norm_shift(q_HH, q_H, layer)
    yield q_HH * (len(q_H) // num_heads) ** -0.5
    yield k_HH
    yield v_HH
    projection_HH = source.read(f"{name}.self_attention.linear_proj.weight").double()
    through_H = projection_HH @ (v_H.double() - v_HH.double() @ shift_H)
    yield (source.read(f"{name}.self_attention.linear_proj.bias").double() + through_H).float()
    yield (source.read(f"{name}.input_layernorm.bias").double() + shift_H).float()


def _norm_shift(q_HH: Tensor, q_H: Tensor, layer: int) -> Tensor:
    """d [H], float64, with W_q d = b, as float32 can hold it."""
    weight_HH, bias_H = q_HH.double(), q_H.double()
    if not bias_H.any():
        return bias_H
    solution_H, info = torch.linalg.solve_ex(weight_HH, bias_H)
    shift_H: Tensor = solution_H.float().double()
    residual = float((weight_HH @ shift_H - bias_H).norm() / bias_H.norm())
    if int(info) != 0 or not residual <= _LARGEST_RESIDUAL:
        raise WorkError(
            f"{layer_name(layer)}: GPT-Neo has no bias of queries, and this layer's query weights cannot take it up "
            f"(relative residual {residual:.1e}); nothing was written"
        )
    return shift_H


def imported(model: ModelConfig, config: Mapping[str, Any]) -> list[Group]:
    """Our tensors of the layers from Hugging Face's."""
    H, A = model.hidden_size, model.num_attention_heads
    names = _NORM_WEIGHT | _NORM_BIAS | _PROJECTION_WEIGHT | _PROJECTION_BIAS | _MLP
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
