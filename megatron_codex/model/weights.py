"""A checkpoint's weights, whole, for anything that is not training: sampling, scoring, conversion.

In: a checkpoint of any layout. Out: full fp32 tensors under megatron-core's GPTModel names, rows of vocabulary padding
cut off. Only torch is needed: no megatron-core, no process group.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.model.checkpoint_files import OPTIMIZER_PREFIX, read_checkpoint_manifest, resolve_checkpoint
from megatron_codex.model.initialization import WORD_EMBEDDINGS


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model as it stands in a checkpoint."""

    model: ModelConfig
    tokenizer: TokenizerConfig
    tensors: dict[str, Tensor]
    """Full tensors by name, for example decoder.layers.0.mlp.linear_fc1.weight; linear_qkv has q, k, v head by head."""
    step: int
    """Training steps behind these weights."""
    directory: Path
    """The step directory they were read from."""


def read_weights(checkpoint: Path | str) -> Weights:
    """Read all weights of a checkpoint (a step, checkpoints or run directory; of the latter two, the newest step).

    Memory: 4 bytes a parameter. torch's checkpoint index is a pickle: read only checkpoints you trust.
    Raises: InputError when there is no whole checkpoint.
    """
    directory = resolve_checkpoint(checkpoint)
    manifest = read_checkpoint_manifest(directory)
    model = build_config(ModelConfig, manifest["config"]["model"], source=str(directory))
    tokenizer = build_config(TokenizerConfig, manifest["config"]["tokenizer"], source=str(directory))
    tensors = _read_tensors(directory)
    tensors[WORD_EMBEDDINGS] = tensors[WORD_EMBEDDINGS][: tokenizer.true_vocab_size].clone()
    return Weights(model=model, tokenizer=tokenizer, tensors=tensors, step=int(manifest["step"]), directory=directory)


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    described = FileSystemReader(directory).read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in described.items()
        if isinstance(entry, TensorStorageMetadata) and not name.startswith(OPTIMIZER_PREFIX)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it loads in a single process, which no_dist asks for
        load(tensors, storage_reader=FileSystemReader(directory), no_dist=True)
    return tensors
