"""What conversions read and write: tensors by name, one at a time, and what each is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.model.initialization import WORD_EMBEDDINGS

POSITION_EMBEDDINGS = "embedding.position_embeddings.weight"
FINAL_NORM = "decoder.final_layernorm"


class TensorSource(Protocol):
    """Tensors that are read when they are asked for."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor. Raises: InputError when there is none of this name."""
        ...

    def read(self, name: str) -> Tensor:
        """A tensor, fp32, on the CPU. Raises: InputError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Group:
    """Tensors of the output that are made together."""

    shapes: Mapping[str, tuple[int, ...]]
    """Name and shape of each, in the order in which `make` gives them."""
    make: Callable[[TensorSource], Iterator[Tensor]]


def layer_name(layer: int) -> str:
    """What the names of a layer's tensors begin with."""
    return f"decoder.layers.{layer}"


def model_shapes(model: ModelConfig, *, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Name and full shape of every weight, as checkpoints have them; vocab_size: the true one."""
    H, M = model.hidden_size, model.mlp_size
    shapes: dict[str, tuple[int, ...]] = {WORD_EMBEDDINGS: (vocab_size, H), POSITION_EMBEDDINGS: (model.seq_length, H)}
    for layer in range(model.num_layers):
        name = layer_name(layer)
        for norm in ("input_layernorm", "pre_mlp_layernorm"):
            shapes |= {f"{name}.{norm}.weight": (H,), f"{name}.{norm}.bias": (H,)}
        matrices = {"self_attention.linear_qkv": (3 * H, H), "self_attention.linear_proj": (H, H)}
        matrices |= {"mlp.linear_fc1": (M, H), "mlp.linear_fc2": (H, M)}
        for matrix, shape in matrices.items():
            shapes |= {f"{name}.{matrix}.weight": shape, f"{name}.{matrix}.bias": shape[:1]}
    return shapes | {f"{FINAL_NORM}.weight": (H,), f"{FINAL_NORM}.bias": (H,)}
