"""Where a run's checkpoints lie and which of them are whole. No torch here.

OUTPUT/checkpoints/step_00000100/   files of torch.distributed.checkpoint, and manifest.json with each one's size
OUTPUT/checkpoints/latest.txt       name of the newest, for people and scripts; here the directories decide

A step directory is written under a temporary name and renamed, so one that exists was whole when it was written;
the sizes tell one that was damaged or cut short by a copy afterwards.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.manifest import MANIFEST_NAME, read_manifest
from megatron_codex.rank import is_first_rank

CHECKPOINTS = "checkpoints"
LATEST = "latest.txt"
FORMAT = "megatron_codex/checkpoint/1"
OPTIMIZER_PREFIX = "optimizer."
"""Begins the key of every tensor that is not a weight."""

_STEP = re.compile(r"step_(\d{8,})")
_logger = logging.getLogger(__name__)


def step_name(step: int) -> str:
    """Directory name of a step's checkpoint."""
    return f"step_{step:08d}"


def step_directories(checkpoints: Path) -> list[Path]:
    """Step directories below a checkpoints directory, oldest first, whole or not."""
    if not checkpoints.is_dir():
        return []
    found = [path for path in checkpoints.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole step directory; damaged ones are named in a warning and passed over."""
    for path in reversed(step_directories(checkpoints)):
        fault = checkpoint_fault(path)
        if fault is None:
            return path
        if is_first_rank():
            _logger.warning("%s: %s; taking the checkpoint before it", path, fault)
    return None


def checkpoint_fault(directory: Path) -> str | None:
    """What is wrong with a step directory, or None for a whole one."""
    try:
        files = _read(directory)["files"]
    except InputError as error:
        return str(error)
    for name, size in files.items():
        path = directory / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            return f"{name} has {'no file' if found is None else f'{found} bytes'}, {size} bytes were written"
    return None


def resolve_checkpoint(path: Path | str) -> Path:
    """The step directory that a path means: itself, or the newest of a checkpoints or run directory.

    Raises: InputError when there is none, or the one that is named is not whole.
    """
    path = Path(path)
    if (path / MANIFEST_NAME).is_file() and _STEP.fullmatch(path.resolve().name):
        fault = checkpoint_fault(path)
        if fault is not None:
            raise InputError(str(path), rule=f"the checkpoint is damaged: {fault}", remedy="name another step")
        return path
    for directory in (path, path / CHECKPOINTS):
        newest = newest_checkpoint(directory)
        if newest is not None:
            return newest
    rule = "no checkpoint here" if path.exists() else "no such directory"
    remedy = "name a step directory, a checkpoints directory or a training run's output directory"
    raise InputError(str(path), rule=rule, remedy=remedy)


def read_checkpoint_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a step directory. Raises: InputError when it is missing or another thing's manifest."""
    return _read(directory)


def _read(directory: Path) -> dict[str, Any]:
    manifest = read_manifest(directory)
    if manifest.get("checkpoint_format") != FORMAT:
        raise InputError(
            str(directory / MANIFEST_NAME), rule=f"not a checkpoint of format {FORMAT}", remedy="check the path"
        )
    return manifest
