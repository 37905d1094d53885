"""Whether a configuration goes on with the run that left a checkpoint, or is another run. No torch here.

In: a TrainConfig and a step directory. Out: the configuration that is stored there. Training checks it when it starts,
and a launch before it waits in a queue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import read_checkpoint_manifest


def require_same_run(config: TrainConfig, checkpoint: Path) -> TrainConfig:
    """The stored configuration. Raises: InputError with the first value that makes this another run.

    Of the data only what decides their order is compared: whether they are the same is known once they are read.
    """
    manifest = read_checkpoint_manifest(checkpoint)
    if not manifest["has_optimizer"]:
        raise InputError(
            str(checkpoint),
            rule="has weights only, no optimizer state to continue with",
            remedy="give it as training.init_from, with another training.output_dir",
        )
    stored = build_config(TrainConfig, manifest["config"], source=str(checkpoint))
    here, there = (identity(run.model, run.tokenizer) for run in (config, stored))
    for run, values in ((config, here), (stored, there)):
        values["task"] = run.task
        values["training.seed"] = run.training.seed
        values["training.global_batch_size"] = run.training.global_batch_size
        values["data.group_by_length"] = run.data.group_by_length
    require_equal(checkpoint, "training.output_dir", here, there)
    return stored


def identity(model: ModelConfig, tokenizer: TokenizerConfig) -> dict[str, Any]:
    """What makes weights mean the same: the model's architecture and the vocabulary."""
    values = {f"model.{name}": value for name, value in model.architecture().items()}
    values["tokenizer.vocab_size"] = tokenizer.true_vocab_size
    return values | {f"tokenizer.{name}": getattr(tokenizer, name) for name in ("min_run", "max_run")}


def require_equal(checkpoint: Path, field: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    """Raises: InputError that names the first value of `here` that is another one there. field: of the checkpoint."""
    for name, value in here.items():
        if there[name] != value:
            raise InputError(
                name,
                value=value,
                rule=f"{checkpoint} has {there[name]!r}",
                remedy=f"give the same value, or another {field}",
            )
