"""A checkpoint made ready to sample from: decoder, tokenizer and the name that samples carry.

In: a checkpoint directory of tools/train.py. Out: a SamplingModel. Only full weights are read (model/weights.py), so a
checkpoint of any tensor- and pipeline-parallel layout is sampled from as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from megatron_codex.errors import InputError
from megatron_codex.model.weights import read_weights
from megatron_codex.platform.memory import keep_freed_memory
from megatron_codex.sampling.decoder import Decoder
from megatron_codex.tokenizer.codex import CodexTokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class SamplingModel:
    """What is needed to draw samples."""

    decoder: Decoder
    tokenizer: CodexTokenizer
    token_bytes: tuple[bytes, ...]
    """The bytes of every token, by id."""
    checkpoint: str
    """Where the weights came from; written into every sample."""


def load_sampling_model(checkpoint: Path, *, precision: str = "float32", device: str = "cpu") -> SamplingModel:
    """Read a checkpoint (step, checkpoints or run directory) for sampling.

    precision: "float32" or "bfloat16". Raises: InputError when the checkpoint or the device is not usable.
    """
    require_device(device)
    keep_freed_memory()
    weights = read_weights(checkpoint)
    tokenizer = CodexTokenizer.from_config(weights.tokenizer)
    decoder = Decoder(
        weights.tensors,
        num_layers=weights.model.num_layers,
        num_attention_heads=weights.model.num_attention_heads,
        layernorm_epsilon=weights.model.layernorm_epsilon,
        vocab_size=tokenizer.vocab_size,
        attention_bands=weights.model.attention_bands,
        dtype=_DTYPES[precision],
        device=device,
    )
    return SamplingModel(
        decoder=decoder,
        tokenizer=tokenizer,
        token_bytes=tuple(tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)),
        checkpoint=str(weights.directory),
    )


def require_device(device: str) -> None:
    """Raise InputError unless torch can compute on this device here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "device", value=device, rule=f"not usable here ({reason})", remedy="give --device cpu"
        ) from error
