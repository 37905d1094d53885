"""Initial weights that depend on the seed and a tensor's name only, never on the layout.

Each full tensor is drawn from a generator of its own, seeded by (seed, name), and each rank keeps its part. So the same
seed starts the same model on one rank, on TP2 x PP2, or with another padding of the vocabulary: rows of padding are
zero and take no draw.

The distribution is GPT-2's, as in Megatron-LM: normal with init_method_std, the two projections into the residual
stream narrower by sqrt(2 x num_layers), biases 0, layer norms 1.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from megatron_codex.config.model import ModelConfig

WORD_EMBEDDINGS = "embedding.word_embeddings.weight"
_INTO_RESIDUAL = ("self_attention.linear_proj.weight", "mlp.linear_fc2.weight")


def initial_tensor(name: str, shape: tuple[int, ...], *, model: ModelConfig, vocab_size: int, seed: int) -> Tensor:
    """The full fp32 tensor, on the CPU, that training starts from.

    name: as in an unsharded model. shape: the full one, [padded vocabulary, H] for the word embeddings.
    vocab_size: the true one.
    """
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("layernorm.weight") else torch.zeros(shape)
    std = model.init_method_std
    if name.endswith(_INTO_RESIDUAL):
        std /= math.sqrt(2 * model.num_layers)
    full = torch.zeros(shape)
    drawn = full[:vocab_size] if name == WORD_EMBEDDINGS else full
    drawn.normal_(0.0, std, generator=_generator(name, seed))
    return full


def _generator(name: str, seed: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
