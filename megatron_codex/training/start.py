"""Where a run starts: at random weights, at another run's weights, or at its own newest checkpoint.

What must agree is checked before anything is read: a run that continues on other data, another order or another model
is another run.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch.distributed as dist

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import InputError, WorkError
from megatron_codex.model.checkpoint_files import (
    CHECKPOINTS,
    checkpoint_fault,
    is_step_directory,
    newest_checkpoint,
    read_checkpoint_manifest,
    resolve_checkpoint,
    step_directories,
    step_name,
    step_number,
)
from megatron_codex.model.same_run import identity, require_equal, require_same_run
from megatron_codex.model.weights import describe_checkpoint
from megatron_codex.rank import is_first_rank
from megatron_codex.training.checkpoint import Progress
from megatron_codex.training.engine import TrainingEngine
from megatron_codex.training.metrics import METRICS, read_metrics
from megatron_codex.training.plateau import Plateau
from megatron_codex.training.spikes import Spikes
from megatron_codex.training.state import initialise, load_state

_logger = logging.getLogger(__name__)


def find_start(config: TrainConfig, *, data_fingerprint: str) -> Path | None:
    """The checkpoint that the run continues from; None for a new run.

    Raises: InputError when it belongs to a run that this one cannot continue, when the one named is damaged or not the
    run's last, or when resume is "never" and one exists.
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
    start = newest_checkpoint(checkpoints) if config.training.resume == "auto" else _named_checkpoint(config)
    if start is not None:
        _require_same(config, start, data_fingerprint)
    elif is_first_rank() and (num_steps := len(read_metrics(config.training.output_dir))):
        _logger.warning(
            "%s: no checkpoint is here, none written or all removed; the %d steps of %s are done anew",
            checkpoints,
            num_steps,
            METRICS,
        )
    return start


def _named_checkpoint(config: TrainConfig) -> Path:
    path = Path(config.training.resume)
    if not is_step_directory(path):
        rule = "must be auto, never or the directory of a step's checkpoint"
        remedy = f"for example {config.training.output_dir / CHECKPOINTS / step_name(100)}"
        raise InputError("training.resume", value=config.training.resume, rule=rule, remedy=remedy)
    fault = checkpoint_fault(path)
    if fault is not None:
        remedy = "name another step, or give auto to take the newest whole one"
        raise InputError("training.resume", value=path, rule=f"the checkpoint is damaged: {fault}", remedy=remedy)
    step = step_number(path.resolve())
    later = [other for other in step_directories(config.training.output_dir / CHECKPOINTS) if step_number(other) > step]
    if later:
        # They would be of another future than the one that begins here, and the newest for resume=auto.
        rule = f"{later[-1]} is a later step of the run"
        raise InputError(
            "training.resume", value=path, rule=rule, remedy="move the later steps away, or give another output_dir"
        )
    return path


def set_state(engine: TrainingEngine, config: TrainConfig, start: Path | None) -> Progress:
    """Give the engine the weights (and, on resume, the optimizer state) it starts with. Collective."""
    _require_one_start(start)
    if start is not None:
        manifest = read_checkpoint_manifest(start)
        counts = {name: int(manifest[name]) for name in ("step", "num_updates", "num_tokens")}
        progress = Progress(
            **counts,
            spikes=Spikes.from_manifest(manifest.get("spikes", {})),
            plateau=Plateau.from_manifest(manifest.get("plateau", {})),
        )
        load_state(engine, start, num_updates=progress.num_updates)
        _logger.info("continuing from %s", start)
        return progress
    initialise(engine, config)
    if config.training.init_from is not None:
        source = resolve_checkpoint(config.training.init_from)
        load_state(engine, source, num_updates=None)
        _logger.info("starting from the weights of %s", source)
    return Progress()


def _require_one_start(start: Path | None) -> None:
    """Raise WorkError when ranks have found different checkpoints: each looks by itself, before they are joined."""
    if dist.get_world_size() == 1:
        return
    names: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(names, start.name if start is not None else "no checkpoint")
    for rank, name in enumerate(names):
        if name != names[0]:
            raise WorkError(
                f"rank 0 would start at {names[0]}, rank {rank} at {name}: training.output_dir must lie on a file "
                "system that all nodes share, and no other run may write there"
            )


def check_init_from(config: TrainConfig) -> None:
    """Raise InputError when training.init_from is no checkpoint, or one of another model or vocabulary."""
    if config.training.init_from is None:
        return
    source = resolve_checkpoint(config.training.init_from)
    described = describe_checkpoint(source)
    here, there = (identity(model, tokenizer) for model, tokenizer in ((config.model, config.tokenizer), described))
    require_equal(source, "training.init_from", here, there)


def _require_same(config: TrainConfig, checkpoint: Path, data_fingerprint: str) -> None:
    stored = require_same_run(config, checkpoint)
    manifest = read_checkpoint_manifest(checkpoint)
    if manifest["data_fingerprint"] != data_fingerprint:
        _refuse_data(config, stored, checkpoint, manifest["data_fingerprint"], data_fingerprint)
    _log_changes(config, stored)


def _refuse_data(config: TrainConfig, stored: TrainConfig, checkpoint: Path, old: str, new: str) -> None:
    """Raise InputError that names the setting that makes the data another, or says that the files have changed."""
    here, there = config_to_dict(config.data), config_to_dict(stored.data)
    for run, settings in ((config, here), (stored, there)):
        settings["validation_share"] = run.validation_share  # the one that is meant where none is given
    for name, value in here.items():
        if there[name] != value:
            raise InputError(
                f"data.{name}",
                value=value,
                rule=f"{checkpoint} has {there[name]!r}, and the data are not the same",
                remedy="give the same value, or another training.output_dir",
            )
    raise InputError(
        "data",
        value=new,
        rule=f"is not the data that {checkpoint} was trained on (fingerprint {old}): the files have changed",
        remedy="give the same files, or another training.output_dir",
    )


def _log_changes(config: TrainConfig, stored: TrainConfig) -> None:
    """Say what a continued run does otherwise than before: settings that change neither its model nor its data."""
    for section in ("optimizer", "training", "parallel"):
        here, there = config_to_dict(getattr(config, section)), config_to_dict(getattr(stored, section))
        for name in here:
            if here[name] != there[name]:
                _logger.info("%s.%s was %r and is %r from here on", section, name, there[name], here[name])
