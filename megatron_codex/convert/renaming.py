"""Tensors that a conversion takes over as they are, but for their name and, in GPT-2, a transposition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.convert.weights import (
    FINAL_NORM,
    POSITION_EMBEDDINGS,
    Group,
    TensorSource,
    layer_name,
    model_shapes,
)
from megatron_codex.model.initialization import WORD_EMBEDDINGS

MLP = {
    "pre_mlp_layernorm.weight": "ln_2.weight",
    "pre_mlp_layernorm.bias": "ln_2.bias",
    "mlp.linear_fc1.weight": "mlp.c_fc.weight",
    "mlp.linear_fc1.bias": "mlp.c_fc.bias",
    "mlp.linear_fc2.weight": "mlp.c_proj.weight",
    "mlp.linear_fc2.bias": "mlp.c_proj.bias",
}
"""Of a layer's second half, which GPT-2 and GPT-Neo name alike: ours -> theirs."""

WTE = "transformer.wte.weight"
_WPE = "transformer.wpe.weight"
_FINAL = {f"transformer.ln_f.{part}": f"{FINAL_NORM}.{part}" for part in ("weight", "bias")}


def renamed(model: ModelConfig, layer: int, names: Mapping[str, str], *, prefix: str, transposed: bool) -> list[Group]:
    """Hugging Face's tensors of a layer from ours. names: ours -> theirs, both without what they begin with."""
    shapes = model_shapes(model, vocab_size=1)
    ours = layer_name(layer)
    return [
        _copy(f"{prefix}.{theirs}", f"{ours}.{name}", shapes[f"{ours}.{name}"], transposed=transposed)
        for name, theirs in names.items()
    ]


def renamed_back(
    model: ModelConfig, layer: int, names: Mapping[str, str], *, prefix: str, transposed: bool
) -> list[Group]:
    """Our tensors of a layer from Hugging Face's."""
    shapes = model_shapes(model, vocab_size=1)
    ours = layer_name(layer)
    groups = []
    for name, theirs in names.items():
        shape = shapes[f"{ours}.{name}"]
        stored = shape[::-1] if transposed else shape
        groups.append(_copy(f"{ours}.{name}", f"{prefix}.{theirs}", stored, transposed=transposed))
    return groups


def embeddings_and_norm(model: ModelConfig, layers: Sequence[Group], *, vocab_size: int) -> list[Group]:
    """Hugging Face's tensors before and after those of the layers."""
    shapes = model_shapes(model, vocab_size=vocab_size)
    embeddings = {WTE: WORD_EMBEDDINGS, _WPE: POSITION_EMBEDDINGS}
    before, after = (
        [_copy(theirs, ours, shapes[ours], transposed=False) for theirs, ours in names.items()]
        for names in (embeddings, _FINAL)
    )
    return [*before, *layers, *after]


def positions_and_norm_back(model: ModelConfig, layers: Sequence[Group]) -> list[Group]:
    """Our tensors before (but for the word embeddings) and after those of the layers."""
    shapes = model_shapes(model, vocab_size=1)
    positions = _copy(POSITION_EMBEDDINGS, _WPE, shapes[POSITION_EMBEDDINGS], transposed=False)
    norm = [_copy(ours, theirs, shapes[ours], transposed=False) for theirs, ours in _FINAL.items()]
    return [positions, *layers, *norm]


def _copy(name: str, source_name: str, source_shape: tuple[int, ...], *, transposed: bool) -> Group:
    def make(source: TensorSource) -> Iterator[Tensor]:
        tensor = source.read(source_name)
        yield tensor.t().contiguous() if transposed else tensor

    return Group(shapes={name: source_shape[::-1] if transposed else source_shape}, make=make)
