"""Where a run's checkpoints lie and which of them are whole. No torch here.

OUTPUT/checkpoints/step_00000100/   shards and index.json (checkpoint_shards.py), manifest.json with each file's size
OUTPUT/checkpoints/latest.txt       name of the newest, for people and scripts; here the directories decide, and it
                                    tells that one is gone
OUTPUT/checkpoints/best             link to the step of the best evaluation, where the run looks for it

A step directory is written under a temporary name and renamed, so one that exists was whole when it was written;
the sizes tell one that was damaged or cut short by a copy afterwards.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.files import atomic_file, sync_directory
from megatron_codex.manifest import MANIFEST_NAME, read_manifest
from megatron_codex.rank import is_first_rank

CHECKPOINTS = "checkpoints"
LATEST = "latest.txt"
BEST = "best"
FORMAT = "megatron_codex/checkpoint/2"
OPTIMIZER_PREFIX = "optimizer."
"""Begins the key of every tensor that is not a weight."""

_STEP = re.compile(r"step_(\d{8,})")
_TEMPORARY = ".step_*.tmp"
_logger = logging.getLogger(__name__)


def step_name(step: int) -> str:
    """Directory name of a step's checkpoint."""
    return f"step_{step:08d}"


def step_number(directory: Path) -> int:
    """The step that a step directory is of."""
    return int(directory.name.removeprefix("step_"))


def step_directories(checkpoints: Path) -> list[Path]:
    """Step directories below a checkpoints directory, oldest first, whole or not."""
    if not checkpoints.is_dir():
        return []
    found = [path for path in checkpoints.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_number)


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """The newest whole step directory; damaged ones, and the last one where it is gone, are named in a warning and
    passed over. None: there were never any.

    Raises: InputError when there are some, but all are damaged; and when all are gone.
    """
    directories = step_directories(checkpoints)
    lost = _lost_checkpoint(checkpoints, directories)
    faults: list[tuple[Path, str]] = [] if lost is None else [(lost, f"{LATEST} names it, and it is gone")]
    for path in reversed(directories):
        fault = checkpoint_fault(path)
        if fault is None:
            for damaged, reason in faults:
                if is_first_rank():
                    _logger.warning("%s: %s; taking the checkpoint before it", damaged, reason)
            return path
        faults.append((path, fault))
    if lost is not None and not directories:
        rule = f"there is no checkpoint here, and {LATEST} names {lost.name}"
        raise InputError(str(checkpoints), rule=rule, remedy=f"bring it back, or remove {LATEST} to begin anew")
    if faults:
        newest, reason = faults[0]
        rule = f"no checkpoint here is whole; of {newest.name}, {reason}"
        raise InputError(str(checkpoints), rule=rule, remedy="copy one again, or name another directory")
    return None


def _lost_checkpoint(checkpoints: Path, directories: list[Path]) -> Path | None:
    """The step that latest.txt names, where it is later than all that are there: somebody has removed it."""
    try:
        name = (checkpoints / LATEST).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    if _STEP.fullmatch(name) is None or (directories and step_number(directories[-1]) >= int(name.split("_")[1])):
        return None
    return checkpoints / name


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


def is_step_directory(path: Path) -> bool:
    """Whether a path names one step's checkpoint, whole or not."""
    return path.is_dir() and _STEP.fullmatch(path.resolve().name) is not None


def resolve_checkpoint(path: Path | str) -> Path:
    """The step directory that a path means: itself, or the newest of a checkpoints or run directory.

    Raises: InputError when there is none, none is whole, or the one that is named is not.
    """
    path = Path(path)
    if is_step_directory(path):
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


def temporary_directory(checkpoints: Path, step: int, token: str) -> Path:
    """Where a step's checkpoint is written before it is renamed. token: of this attempt, so that a process of an
    earlier one that has not died yet cannot write into it."""
    return checkpoints / f".{step_name(step)}.{token}.tmp"


def remove_unfinished(checkpoints: Path) -> None:
    """Remove what killed runs left half-written."""
    for left in checkpoints.glob(_TEMPORARY):
        shutil.rmtree(left)


def put_in_place(temporary: Path, final: Path) -> None:
    """Give a step directory that is whole its name; one of that name is moved away first, then removed."""
    sync_directory(temporary)
    if final.exists():  # damaged, or it would have been resumed from
        old = final.with_name(f".{final.name}.old.tmp")
        final.replace(old)
        temporary.replace(final)
        shutil.rmtree(old)
    else:
        temporary.replace(final)
    sync_directory(final.parent)
    with atomic_file(final.parent / LATEST, "w") as handle:
        handle.write(final.name + "\n")


def name_best(directory: Path) -> None:
    """Let checkpoints/best lead to a step directory."""
    link = directory.with_name(f".{BEST}.tmp")
    link.unlink(missing_ok=True)
    link.symlink_to(directory.name)
    link.replace(directory.with_name(BEST))
    sync_directory(directory.parent)


def remove_old(newest: Path, *, keep: int, keep_interval: int, best: int | None = None) -> None:
    """Keep the last `keep` steps up to the newest (0: all), those that are multiples of keep_interval (0: none), and
    the step `best`.

    A later step is a damaged one that was not resumed from: no backup, so it does not count.
    """
    if keep == 0:
        return
    directories = step_directories(newest.parent)
    for directory in directories[: directories.index(newest) + 1][:-keep]:
        step = step_number(directory)
        if step == best or (keep_interval and step % keep_interval == 0):
            continue
        # The manifest first: a directory that is only half removed must not count as a checkpoint.
        (directory / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(directory)


def _read(directory: Path) -> dict[str, Any]:
    manifest = read_manifest(directory)
    found = manifest.get("checkpoint_format")
    if found != FORMAT:
        rule = f"must be a checkpoint of format {FORMAT}"
        remedy = "check the path; a checkpoint of another format needs the version that wrote it"
        raise InputError(str(directory / MANIFEST_NAME), value=found, rule=rule, remedy=remedy)
    return manifest
