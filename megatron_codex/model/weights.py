"""A checkpoint's weights, whole, for anything that is not training: sampling, scoring, conversion.

In: a checkpoint of any layout. Out: full fp32 tensors under megatron-core's GPTModel names, rows of vocabulary padding
left out. Only torch is needed: no megatron-core, no process group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.model.checkpoint_files import read_checkpoint_manifest, resolve_checkpoint
from megatron_codex.model.checkpoint_tensors import CheckpointTensors


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

    Memory: 4 bytes a parameter. Raises: InputError when there is no whole checkpoint.
    """
    directory = resolve_checkpoint(checkpoint)
    model, tokenizer = describe_checkpoint(directory)
    stored = CheckpointTensors(directory)
    return Weights(
        model=model,
        tokenizer=tokenizer,
        tensors={name: stored.read(name) for name in stored.weight_names},
        step=int(read_checkpoint_manifest(directory)["step"]),
        directory=directory,
    )


def describe_checkpoint(directory: Path) -> tuple[ModelConfig, TokenizerConfig]:
    """The model and the vocabulary of a step directory's weights."""
    config = read_checkpoint_manifest(directory)["config"]
    model = build_config(ModelConfig, config["model"], source=str(directory))
    return model, build_config(TokenizerConfig, config["tokenizer"], source=str(directory))
