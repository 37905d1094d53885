"""Where a run starts: at random weights, at another run's weights, or at its own newest checkpoint.

What must agree is checked before anything is read: a run that continues on other data, another order or another model
is another run.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from megatron_codex.config.load import build_config
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import (
    CHECKPOINTS,
    newest_checkpoint,
    read_checkpoint_manifest,
    resolve_checkpoint,
    step_directories,
)
from megatron_codex.training.checkpoint import Progress
from megatron_codex.training.engine import TrainingEngine
from megatron_codex.training.state import initialise, load_state

_logger = logging.getLogger(__name__)


def find_start(config: TrainConfig, *, data_fingerprint: str) -> Path | None:
    """The checkpoint that the run continues from; None for a new run.

    Raises: InputError when it belongs to a run that this one cannot continue, or when resume is "never" and one exists.
    """
    checkpoints = config.training.output_dir / CHECKPOINTS
    if config.training.resume == "never":
        if step_directories(checkpoints):
            raise InputError(
                "training.resume",
                value="never",
                rule=f"{checkpoints} has checkpoints already",
                remedy="give resume=auto to continue them, or another training.output_dir",
            )
        return None
    newest = newest_checkpoint(checkpoints)
    if newest is not None:
        _require_same_run(config, newest, data_fingerprint)
    return newest


def set_state(engine: TrainingEngine, config: TrainConfig, start: Path | None) -> Progress:
    """Give the engine the weights (and, on resume, the optimizer state) it starts with. Collective."""
    if start is not None:
        manifest = read_checkpoint_manifest(start)
        progress = Progress(**{name: int(manifest[name]) for name in ("step", "num_updates", "num_tokens")})
        load_state(engine, str(start), num_updates=progress.num_updates)
        _logger.info("continuing from %s", start)
        return progress
    initialise(engine, config)
    if config.training.init_from is not None:
        source = resolve_checkpoint(config.training.init_from)
        load_state(engine, str(source), num_updates=None)
        _logger.info("starting from the weights of %s", source)
    return Progress()


def check_init_from(config: TrainConfig) -> None:
    """Raise InputError when training.init_from is no checkpoint, or one of another model or vocabulary."""
    if config.training.init_from is None:
        return
    source = resolve_checkpoint(config.training.init_from)
    _require_equal(source, "training.init_from", _identity(config), _identity(_stored_config(source)))


def _require_same_run(config: TrainConfig, checkpoint: Path, data_fingerprint: str) -> None:
    stored = _stored_config(checkpoint)
    here, there = _identity(config), _identity(stored)
    for run, identity in ((config, here), (stored, there)):
        identity["task"] = run.task
        identity["training.seed"] = run.training.seed
        identity["training.global_batch_size"] = run.training.global_batch_size
    _require_equal(checkpoint, "training.output_dir", here, there)
    if read_checkpoint_manifest(checkpoint)["data_fingerprint"] != data_fingerprint:
        raise InputError(
            "data",
            rule=f"is not the data that {checkpoint} was trained on",
            remedy="give the same data and data settings, or another training.output_dir",
        )
    if stored.training.train_iters != config.training.train_iters:
        _logger.info(
            "train_iters was %d and is %d: the learning rate follows the new one",
            stored.training.train_iters,
            config.training.train_iters,
        )


def _require_equal(checkpoint: Path, field: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    for name, value in here.items():
        if there[name] != value:
            raise InputError(
                name,
                value=value,
                rule=f"{checkpoint} has {there[name]!r}",
                remedy=f"give the same value, or another {field}",
            )


def _identity(config: TrainConfig) -> dict[str, Any]:
    """What makes weights mean the same: the model's architecture and the vocabulary."""
    identity = {f"model.{name}": value for name, value in config.model.architecture().items()}
    tokenizer = config.tokenizer
    identity["tokenizer.vocab_size"] = tokenizer.true_vocab_size
    return identity | {f"tokenizer.{name}": getattr(tokenizer, name) for name in ("min_run", "max_run")}


def _stored_config(checkpoint: Path) -> TrainConfig:
    return build_config(TrainConfig, read_checkpoint_manifest(checkpoint)["config"], source=str(checkpoint))
