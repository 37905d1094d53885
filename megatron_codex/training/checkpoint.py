"""Checkpoints of a run: written whole or not at all, kept few, found again after any interruption.

OUTPUT/checkpoints/step_00000100 is written as .step_00000100.tmp by all ranks, fsynced and renamed by rank 0 when all
have finished. Its tensors do not depend on the layout (training/state.py). Nothing else is saved: the data position and
all random numbers follow from the step and the seed.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import WorkError
from megatron_codex.files import atomic_file, sync_directory
from megatron_codex.manifest import MANIFEST_NAME, write_manifest
from megatron_codex.model.checkpoint_files import FORMAT, LATEST, step_directories, step_name
from megatron_codex.platform.megatron_core import (
    MCoreSavePlanner,
    SaveShardedStrategy,
    dist_checkpointing,
    mcore_to_pyt_state_dict,
    sharded_tensors_by_key,
)
from megatron_codex.training.engine import TrainingEngine
from megatron_codex.training.state import described_state


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come: what its checkpoint says beside the tensors."""

    step: int = 0
    """Steps done; the next one takes the samples from step x global_batch_size on."""
    num_updates: int = 0
    """Steps that changed the weights: all but those without a token to train on."""
    num_tokens: int = 0
    """Unmasked tokens trained on."""


class _TorchDistInProcess(SaveShardedStrategy):
    """megatron-core's torch_dist format, written by this process.

    Its own writer forks processes and a Manager for each save, which outlive a killed rank and cost more than the
    writing of a small model.
    """

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    @property
    def can_handle_sharded_objects(self) -> bool:
        return True

    def save(self, sharded_state_dict: Any, checkpoint_dir: str | Path) -> None:
        by_key, _, _ = sharded_tensors_by_key(sharded_state_dict, keep_only_main_replica=True)
        save(
            mcore_to_pyt_state_dict(by_key),
            storage_writer=FileSystemWriter(checkpoint_dir, single_file_per_rank=True, sync_files=True),
            planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
        )


def save_checkpoint(
    engine: TrainingEngine, config: TrainConfig, checkpoints: Path, progress: Progress, *, data_fingerprint: str
) -> Path:
    """Write a step's checkpoint and remove those that are no longer kept; the step directory. Collective.

    Raises: WorkError when it cannot be written, on a full disk for example; the checkpoints before it stay.
    """
    started_at = time.time()
    final = checkpoints / step_name(progress.step)
    temporary = checkpoints / f".{final.name}.tmp"
    if dist.get_rank() == 0:
        for left in checkpoints.glob(".step_*.tmp"):  # by a run that was killed while it wrote
            shutil.rmtree(left)
        temporary.mkdir(parents=True)
    dist.barrier()
    state = described_state(engine)
    _write(state, temporary)
    if dist.get_rank() == 0:
        files = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
        extra = {
            "checkpoint_format": FORMAT,
            "step": progress.step,
            "num_updates": progress.num_updates,
            "num_tokens": progress.num_tokens,
            "data_fingerprint": data_fingerprint,
            "files": files,
        }
        write_manifest(
            temporary, command="train", config=config, inputs=(), counts={}, started_at=started_at, extra=extra
        )
        _put_in_place(temporary, final)
        _remove_old(final, keep=config.training.keep_checkpoints)
    dist.barrier()
    return final


def _write(state: Any, directory: Path) -> None:
    try:
        dist_checkpointing.save(state, str(directory), sharded_strategy=_TorchDistInProcess())
    except (OSError, RuntimeError, CheckpointException) as error:
        free = shutil.disk_usage(directory).free // 2**20
        reason = str(error).strip().splitlines()[-1]
        raise WorkError(
            f"{directory}: the checkpoint cannot be written ({reason}); {free} MiB are free there; those before it "
            "stay: make room and run the command again"
        ) from error


def _put_in_place(temporary: Path, final: Path) -> None:
    if final.exists():
        shutil.rmtree(final)  # damaged, or it would have been resumed from
    sync_directory(temporary)
    temporary.replace(final)
    sync_directory(final.parent)
    with atomic_file(final.parent / LATEST, "w") as handle:
        handle.write(final.name + "\n")


def _remove_old(newest: Path, *, keep: int) -> None:
    """Keep the last `keep` up to the newest; a later step is a damaged one that was not resumed from, and no backup."""
    if keep == 0:
        return
    directories = step_directories(newest.parent)
    for directory in directories[: directories.index(newest) + 1][:-keep]:
        # The manifest first: a directory that is only half removed must not count as a checkpoint.
        (directory / MANIFEST_NAME).unlink(missing_ok=True)
        shutil.rmtree(directory)
