"""A checkpoint made ready to sample from: decoder, tokenizer and the name that samples carry.

In: a checkpoint directory of tools/train.py. Out: a SamplingModel. A checkpoint of any tensor- and pipeline-parallel
layout is sampled from as it is, on one rank or on several, each of which reads its own part only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import resolve_checkpoint
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.weights import describe_checkpoint
from megatron_codex.ops.programs import Kernels
from megatron_codex.platform.memory import keep_freed_memory
from megatron_codex.sampling.decoder import Decoder
from megatron_codex.sampling.ranks import ALONE, ModelRanks
from megatron_codex.sampling.shard_weights import read_shard
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


def load_sampling_model(
    checkpoint: Path,
    *,
    precision: str = "float32",
    device: str = "cpu",
    ranks: ModelRanks = ALONE,
    kernels: Kernels = "auto",
) -> SamplingModel:
    """Read a checkpoint (step, checkpoints or run directory), or this rank's part of it, for sampling.

    precision: "float32" or "bfloat16". kernels: whose programs decode.

    Raises: InputError when the checkpoint, the device, the layout or the kernels are not usable.
    """
    require_device(device)
    keep_freed_memory()
    directory = resolve_checkpoint(checkpoint)
    model, tokenizer_config = describe_checkpoint(directory)
    tokenizer = CodexTokenizer.from_config(tokenizer_config)
    decoder = Decoder(
        read_shard(CheckpointTensors(directory), model, vocab_size=tokenizer.vocab_size, ranks=ranks),
        num_layers=model.num_layers,
        num_attention_heads=model.num_attention_heads,
        seq_length=model.seq_length,
        layernorm_epsilon=model.layernorm_epsilon,
        vocab_size=tokenizer.vocab_size,
        attention_bands=model.attention_bands,
        dtype=_DTYPES[precision],
        device=device,
        ranks=ranks,
        kernels=kernels,
    )
    return SamplingModel(
        decoder=decoder,
        tokenizer=tokenizer,
        token_bytes=tuple(tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)),
        checkpoint=str(directory),
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
