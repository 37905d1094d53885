"""A checkpoint opened for conversion: its tensors are those of the model that its manifest names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert.weights import model_shapes
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import resolve_checkpoint
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.model.weights import describe_checkpoint


@dataclass(frozen=True, kw_only=True)
class OpenCheckpoint:
    """A whole checkpoint."""

    directory: Path
    model: ModelConfig
    tokenizer: TokenizerConfig
    tensors: CheckpointTensors


def open_checkpoint(path: Path) -> OpenCheckpoint:
    """Open a step, checkpoints or run directory.

    Raises: InputError when it is not whole, or its tensors are not those of the model that its manifest names.
    """
    directory = resolve_checkpoint(path)
    model, tokenizer = describe_checkpoint(directory)
    tensors = CheckpointTensors(directory)
    for name, shape in model_shapes(model, vocab_size=tokenizer.true_vocab_size).items():
        found = tensors.shape(name)
        if found != shape:
            rule = f"{name} has the shape {list(found)}, the manifest's model and vocabulary give {list(shape)}"
            raise InputError(
                str(directory), rule=rule, remedy="manifest and shards are not of one checkpoint: copy it again"
            )
    return OpenCheckpoint(directory=directory, model=model, tokenizer=tokenizer, tensors=tensors)
