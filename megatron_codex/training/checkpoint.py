"""Checkpoints of a run: written whole or not at all, kept few, found again after any interruption.

OUTPUT/checkpoints/step_00000100 is written as .step_00000100.<token>.tmp, a shard by each rank; when all shards are on
the disk, rank 0 adds index and manifest and renames the directory. Its tensors do not depend on the layout
(training/state.py). The data position and all random numbers follow from the step and the seed; the manifest says so.

With training.asynchronous_saves each rank copies what it owns (12 bytes a parameter) and a thread writes the copy while
training goes on. Ranks tell each other through files, not through collectives, so no save can get between those of
training. A failed save stops the run at the next save or at the end, on all ranks.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import torch.distributed as dist

from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import WorkError
from megatron_codex.manifest import write_manifest
from megatron_codex.model.checkpoint_files import (
    FORMAT,
    name_best,
    put_in_place,
    remove_old,
    remove_unfinished,
    step_name,
    temporary_directory,
)
from megatron_codex.model.checkpoint_shards import (
    Piece,
    missing_writers,
    report_failure,
    write_index,
    write_shard,
)
from megatron_codex.training.engine import TrainingEngine
from megatron_codex.training.plateau import Plateau
from megatron_codex.training.randomness import RULE
from megatron_codex.training.spikes import Spikes
from megatron_codex.training.state import owned_pieces

_logger = logging.getLogger(__name__)

VISIBLE_WITHIN_S = 120.0
"""How long rank 0 waits for a shard that its rank has written, seconds: file systems of clusters show it late."""

_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come: what its checkpoint says beside the tensors."""

    step: int = 0
    """Steps done; the next one takes the samples from step x global_batch_size on."""
    num_updates: int = 0
    """Steps that changed the weights: all but those without a token to train on, and those that were skipped."""
    num_tokens: int = 0
    """Unmasked tokens trained on."""
    spikes: Spikes = field(default_factory=Spikes)
    """Batches that were skipped, and the losses that the next one is measured against."""
    plateau: Plateau = field(default_factory=Plateau)
    """The best evaluation, and how many have been worse since."""

    @property
    def num_empty(self) -> int:
        """Steps without a token to train on."""
        return self.step - self.num_updates - self.spikes.num_skipped


@dataclass(kw_only=True)
class _Save:
    """A save that is under way on this rank."""

    temporary: Path
    final: Path
    num_writers: int
    written: Future[None]
    """This rank's shard."""
    published: Future[None] | None = None
    """Index, manifest and renaming; rank 0's work."""
    all_written: threading.Event = field(default_factory=threading.Event)
    """Set once every rank is known to have written."""
    abandoned: threading.Event = field(default_factory=threading.Event)
    """Set when a rank could not write."""


class CheckpointSaver:
    """Writes a run's checkpoints, one at a time; `save` and `finish` are collective. A context manager: an exception
    inside waits for what is being written, so that a checkpoint begun before a fault is not lost by it. Entering it is
    collective, and raises WorkError where no checkpoint could be written: before a step, not after hours of them."""

    def __init__(
        self, engine: TrainingEngine, config: TrainConfig, checkpoints: Path, *, data_fingerprint: str
    ) -> None:
        self._engine, self._config, self._checkpoints = engine, config, checkpoints
        self._data_fingerprint = data_fingerprint
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="checkpoint")
        self._under_way: _Save | None = None

    def __enter__(self) -> CheckpointSaver:
        _agree(_done(partial(_require_writable, self._checkpoints)), self._checkpoints)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
            elif self._under_way is not None:  # others may be dead: no collectives, and no wait without an end
                _wait_for(self._under_way.written)
                if self._under_way.published is not None:
                    self._under_way.all_written.set()
                    _wait_for(self._under_way.published)
        finally:
            self._threads.shutdown()

    def save(self, progress: Progress) -> Path:
        """Write a step's checkpoint and remove those that are no longer kept; the step directory it gets. Collective.

        With asynchronous saves it is whole only after `finish`, or some time before.
        Raises: WorkError when it, or the one before it, cannot be written; the checkpoints before stay.
        """
        self.finish()
        asynchronous = self._config.training.asynchronous_saves
        temporary = self._make_temporary(progress.step)
        pieces = owned_pieces(self._engine, vocab_size=self._config.tokenizer.true_vocab_size)
        if asynchronous:
            pieces = [replace(piece, data=piece.data.detach().to("cpu", copy=True)) for piece in pieces]
        self._under_way = save = _Save(
            temporary=temporary,
            final=self._checkpoints / step_name(progress.step),
            num_writers=dist.get_world_size(),
            written=self._threads.submit(_write, temporary, dist.get_rank(), pieces),
        )
        if dist.get_rank() == 0:
            save.published = self._threads.submit(self._publish, save, progress)
        if not asynchronous:
            self.finish()
        return save.final

    def finish(self) -> None:
        """Wait until the save that is under way is whole; nothing when there is none. Collective.

        Raises: WorkError, on all ranks, when it could not be written.
        """
        save, self._under_way = self._under_way, None
        if save is None:
            return
        try:
            _agree(save.written, save.temporary)
            save.all_written.set()
            _agree(save.published, save.temporary)
        except WorkError:
            save.abandoned.set()
            if dist.get_rank() == 0:
                shutil.rmtree(save.temporary, ignore_errors=True)
            raise

    def _make_temporary(self, step: int) -> Path:
        """The directory that all ranks write into."""
        token = [secrets.token_hex(4)]
        if dist.get_world_size() > 1:
            dist.broadcast_object_list(token, src=0)
        temporary = temporary_directory(self._checkpoints, step, token[0])

        def make() -> None:
            if dist.get_rank() == 0:
                remove_unfinished(self._checkpoints)
                temporary.mkdir(parents=True)

        _agree(_done(make), temporary)
        return temporary

    def _publish(self, save: _Save, progress: Progress) -> None:
        started_at = time.time()
        _wait_for_writers(save)
        write_index(save.temporary, save.num_writers)
        config = self._config
        write_manifest(
            save.temporary,
            command="train",
            config=config,
            inputs=(),
            counts={},
            started_at=started_at,
            extra={
                "checkpoint_format": FORMAT,
                "step": progress.step,
                "num_updates": progress.num_updates,
                "num_tokens": progress.num_tokens,
                "spikes": asdict(progress.spikes),
                "plateau": asdict(progress.plateau),
                "has_optimizer": True,
                "num_writers": save.num_writers,
                "data_fingerprint": self._data_fingerprint,
                "data_position": {"samples": progress.step * config.training.global_batch_size},
                "random_numbers": {"seed": config.training.seed, "step": progress.step, "rule": RULE},
                "files": {path.name: path.stat().st_size for path in sorted(save.temporary.iterdir())},
            },
        )
        put_in_place(save.temporary, save.final)
        best = progress.plateau.best_step
        if best == progress.step:
            name_best(save.final)
        remove_old(
            save.final,
            keep=config.training.keep_checkpoints,
            keep_interval=config.training.keep_interval,
            best=best,
        )


def _write(directory: Path, rank: int, pieces: list[Piece]) -> None:
    try:
        write_shard(directory, rank, pieces)
    except Exception as error:
        report_failure(directory, rank, str(error))
        raise


def _wait_for_writers(save: _Save) -> None:
    """Until each writer has reported. Once they are all known to have written, for VISIBLE_WITHIN_S at most."""
    end = None
    while missing := missing_writers(save.temporary, save.num_writers):
        if save.abandoned.is_set():
            raise WorkError(f"the shards of ranks {missing} were not written")
        if save.all_written.is_set():
            end = end or time.monotonic() + VISIBLE_WITHIN_S
            if time.monotonic() > end:
                raise WorkError(
                    f"rank 0 does not see the shards of ranks {missing}: training.output_dir must lie on a file system "
                    "that all nodes share"
                )
        time.sleep(_POLL_S)


def _require_writable(directory: Path) -> None:
    """Raise OSError where this rank may not write into a directory, or may not make it."""
    while not directory.exists():
        directory = directory.parent
    if not os.access(directory, os.W_OK | os.X_OK):
        reason = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(reason, os.strerror(reason), str(directory))


def _done(work: Callable[[], None]) -> Future[None]:
    future: Future[None] = Future()
    try:
        work()
        future.set_result(None)
    except OSError as error:
        future.set_exception(error)
    return future


def _agree(future: Future[None] | None, directory: Path) -> None:
    """Wait for a part of a save on every rank. Raises: WorkError, on all ranks, when it failed on any. Collective."""
    reason = None
    if future is not None:
        error = future.exception()
        if error is not None and not isinstance(error, OSError | RuntimeError):
            raise error  # a fault of ours
        reason = None if error is None else " ".join(str(error).split())
    reasons: list[Any] = [reason]
    if dist.get_world_size() > 1:
        reasons = [None] * dist.get_world_size()
        dist.all_gather_object(reasons, reason)
    failed = [(rank, reason) for rank, reason in enumerate(reasons) if reason is not None]
    if failed:
        rank, reason = failed[0]
        free = shutil.disk_usage(directory.parent if directory.parent.exists() else "/").free // 2**20
        raise WorkError(
            f"{directory}: the checkpoint cannot be written (rank {rank}: {reason}); {free} MiB are free there; those "
            "before it stay: make room, or allow to write there, and run the command again"
        )


def _wait_for(future: Future[None]) -> None:
    """Wait without raising: another error is on its way."""
    error = future.exception()
    if error is not None:
        _logger.warning("the checkpoint under way is lost (%s); those before it stay", error)
