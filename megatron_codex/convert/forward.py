"""Forward passes that share nothing with training or sampling: plain torch in fp32, one weight in memory at a time.

Two programs of the same model, each written from its own side's definition: `checkpoint_logits` from a checkpoint's
tensors (megatron-core's names, q, k and v head by head), `huggingface_logits` from a folder's tensors and config.json
as transformers defines GPT-2 and GPT-Neo. Their agreement is the check of a conversion.

Shapes: S positions, V vocabulary, H hidden, A heads, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.convert.weights import TensorSource


@torch.no_grad()
def checkpoint_logits(source: TensorSource, model: ModelConfig, tokens_S: Tensor) -> Tensor:
    """Logits [S, V] of one text."""

    def affine(name: str) -> tuple[Tensor, Tensor]:
        return source.read(f"{name}.weight"), source.read(f"{name}.bias")

    S, A = len(tokens_S), model.num_attention_heads
    x_SH = _rows(source, "embedding.word_embeddings.weight", tokens_S)
    x_SH = x_SH + source.read("embedding.position_embeddings.weight")[:S]
    for layer in range(model.num_layers):
        name = f"decoder.layers.{layer}"
        normed_SH = _norm(x_SH, affine(f"{name}.input_layernorm"), model.layernorm_epsilon)
        qkv_SAX = F.linear(normed_SH, *affine(f"{name}.self_attention.linear_qkv")).view(S, A, -1)
        q_SAD, k_SAD, v_SAD = qkv_SAX.chunk(3, dim=-1)
        banded = model.attention_pattern == "alternating" and layer % 2 == 1
        seen_SS = _seen(S, model.band_width if banded else None)
        scores_ASS = torch.einsum("sad,tad->ast", q_SAD, k_SAD) / q_SAD.shape[-1] ** 0.5
        attended_SH = _attend(scores_ASS, seen_SS, v_SAD)
        x_SH = x_SH + F.linear(attended_SH, *affine(f"{name}.self_attention.linear_proj"))
        normed_SH = _norm(x_SH, affine(f"{name}.pre_mlp_layernorm"), model.layernorm_epsilon)
        inner_SM = _gelu(F.linear(normed_SH, *affine(f"{name}.mlp.linear_fc1")))
        x_SH = x_SH + F.linear(inner_SM, *affine(f"{name}.mlp.linear_fc2"))
    x_SH = _norm(x_SH, affine("decoder.final_layernorm"), model.layernorm_epsilon)
    return x_SH @ source.read("embedding.word_embeddings.weight").t()


@torch.no_grad()
def huggingface_logits(source: TensorSource, config: Mapping[str, Any], tokens_S: Tensor) -> Tensor:
    """Logits [S, V] of one text, V with the rows of padding that the folder has."""
    S, epsilon = len(tokens_S), config["layer_norm_epsilon"]
    x_SH = _rows(source, "transformer.wte.weight", tokens_S) + source.read("transformer.wpe.weight")[:S]
    is_gpt2 = config["model_type"] == "gpt2"
    for layer in range(config["n_layer"] if is_gpt2 else config["num_layers"]):
        name = f"transformer.h.{layer}"
        normed_SH = _norm(x_SH, _affine(source, f"{name}.ln_1"), epsilon)
        x_SH = x_SH + (_gpt2_attention if is_gpt2 else _gpt_neo_attention)(source, config, layer, normed_SH)
        normed_SH = _norm(x_SH, _affine(source, f"{name}.ln_2"), epsilon)
        x_SH = x_SH + _huggingface_mlp(source, f"{name}.mlp", normed_SH, transposed=is_gpt2)
    x_SH = _norm(x_SH, _affine(source, "transformer.ln_f"), epsilon)
    return x_SH @ source.read("transformer.wte.weight").t()


def _gpt2_attention(source: TensorSource, config: Mapping[str, Any], layer: int, x_SH: Tensor) -> Tensor:
    name = f"transformer.h.{layer}.attn"
    S = len(x_SH)
    weight, bias = _affine(source, f"{name}.c_attn")
    q_SAD, k_SAD, v_SAD = (x.view(S, config["n_head"], -1) for x in (x_SH @ weight + bias).chunk(3, dim=-1))
    scores_ASS = torch.einsum("sad,tad->ast", q_SAD, k_SAD)
    if config.get("scale_attn_weights", True):
        scores_ASS = scores_ASS / q_SAD.shape[-1] ** 0.5
    if config.get("scale_attn_by_inverse_layer_idx", False):
        scores_ASS = scores_ASS / (layer + 1)
    weight, bias = _affine(source, f"{name}.c_proj")
    return _attend(scores_ASS, _seen(S, None), v_SAD) @ weight + bias


def _gpt_neo_attention(source: TensorSource, config: Mapping[str, Any], layer: int, x_SH: Tensor) -> Tensor:
    name = f"transformer.h.{layer}.attn.attention"
    S = len(x_SH)
    q_SAD, k_SAD, v_SAD = (
        F.linear(x_SH, source.read(f"{name}.{part}_proj.weight")).view(S, config["num_heads"], -1) for part in "qkv"
    )
    kinds = [kind for pattern, count in config["attention_types"] for _ in range(count) for kind in pattern]
    seen_SS = _seen(S, config["window_size"] if kinds[layer] == "local" else None)
    scores_ASS = torch.einsum("sad,tad->ast", q_SAD, k_SAD)
    return F.linear(_attend(scores_ASS, seen_SS, v_SAD), *_affine(source, f"{name}.out_proj"))


def _huggingface_mlp(source: TensorSource, name: str, x_SH: Tensor, *, transposed: bool) -> Tensor:
    for part in ("c_fc", "c_proj"):
        weight, bias = _affine(source, f"{name}.{part}")
        x_SH = F.linear(x_SH, weight.t() if transposed else weight, bias)
        x_SH = _gelu(x_SH) if part == "c_fc" else x_SH
    return x_SH


def _affine(source: TensorSource, name: str) -> tuple[Tensor, Tensor]:
    return source.read(f"{name}.weight"), source.read(f"{name}.bias")


def _rows(source: TensorSource, name: str, tokens_S: Tensor) -> Tensor:
    return source.read(name)[tokens_S]


def _norm(x_SH: Tensor, affine: tuple[Tensor, Tensor], epsilon: float) -> Tensor:
    centred_SH = x_SH - x_SH.mean(dim=-1, keepdim=True)
    variance_S1 = centred_SH.square().mean(dim=-1, keepdim=True)
    return centred_SH / (variance_S1 + epsilon).sqrt() * affine[0] + affine[1]


def _gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def _seen(num_positions: int, band_width: int | None) -> Tensor:
    """[S, S], True where a query (row) sees a key (column)."""
    behind_SS = torch.arange(num_positions)[:, None] - torch.arange(num_positions)[None, :]
    return (behind_SS >= 0) & (behind_SS < (num_positions if band_width is None else band_width))


def _attend(scores_ASS: Tensor, seen_SS: Tensor, v_SAD: Tensor) -> Tensor:
    """[S, H]: values weighted by the softmax of the scores that are seen."""
    weights_ASS = torch.softmax(scores_ASS.masked_fill(~seen_SS, -torch.inf), dim=-1)
    return torch.einsum("ast,tad->sad", weights_ASS, v_SAD).flatten(1)
