"""A training run from its configuration to its last checkpoint (Codex paper, sections 3.2 and 4.4).

In: a TrainConfig, and for Codex-S and Codex-D a reader of problems. Out, in training.output_dir: checkpoints/,
metrics.jsonl, tensorboard/, heartbeats/, config.yaml and, when the run has ended, manifest.json.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import torch.distributed as dist

from megatron_codex.config.load import save_config
from megatron_codex.config.training import TrainConfig
from megatron_codex.manifest import write_manifest
from megatron_codex.ops.choice import active, device_here
from megatron_codex.ops.programs import Active, in_words, require_kernels
from megatron_codex.parallel.collective_calls import CollectiveCalls
from megatron_codex.parallel.groups import Layout, model_parallel
from megatron_codex.parallel.joined import joined_ranks, world_size
from megatron_codex.platform.deepspeed import require_deepspeed
from megatron_codex.training.batches import GlobalBatches, run_batches
from megatron_codex.training.checkpoint import Progress
from megatron_codex.training.datasets import Datasets, ReadPairs, build_datasets
from megatron_codex.training.deepspeed_engine import build_deepspeed_engine
from megatron_codex.training.engine import build_engine
from megatron_codex.training.heart import Heart
from megatron_codex.training.loop import Run, run_steps
from megatron_codex.training.metrics import read_metrics, shares_of_positions
from megatron_codex.training.randomness import seed_step
from megatron_codex.training.start import check_init_from, find_start, set_state
from megatron_codex.training.wandb_run import require_wandb

_logger = logging.getLogger(__name__)


def train(config: TrainConfig, *, read_pairs: ReadPairs | None = None) -> str | None:
    """Train to the end, or from the newest checkpoint to the end; what was done, in one line, on rank 0.

    Every rank of the run calls this. read_pairs: for tasks codex_s and codex_d.
    Raises: InputError for bad input; WorkError when training cannot go on.
    """
    started_at = time.time()
    config.check_world_size(world_size())
    check_init_from(config)
    require_kernels(config.model.kernels, device=device_here())
    if config.engine == "deepspeed":
        require_deepspeed()
    require_wandb(config.training.wandb_project)
    datasets = build_datasets(config, read_pairs=read_pairs)
    fingerprint = datasets.train.fingerprint()
    start = find_start(config, data_fingerprint=fingerprint)
    with (
        joined_ranks(),
        model_parallel(config.parallel) as layout,
        CollectiveCalls() as calls,
        _heart(config, calls) as heart,
    ):
        if layout.rank == 0:
            config.training.output_dir.mkdir(parents=True, exist_ok=True)
            save_config(config, config.training.output_dir / "config.yaml")
            _warn_of_warmup(config)
            _logger.info("model.kernels=%s: %s", config.model.kernels, in_words(_programs(config)))
        seed_step(config.training.seed, 0, layout)
        engine = build_deepspeed_engine(config) if config.engine == "deepspeed" else build_engine(config)
        progress = set_state(engine, config, start)
        already_done = progress.step >= config.training.train_iters or progress.plateau.has_ended(config.training)
        if not already_done:
            run = Run(
                config=config,
                layout=layout,
                engine=engine,
                train=run_batches(config, datasets.train, layout),
                valid=_validation_batches(config, datasets, layout),
                num_valid_batches=_num_valid_batches(config, datasets),
                data_fingerprint=fingerprint,
                heart=heart,
                calls=calls,
            )
            progress = run_steps(run, progress)
        if layout.rank != 0:
            return None
        _write_manifest(config, datasets, progress, fingerprint, started_at)
        return _outcome(config, progress, already_done=already_done)


def _heart(config: TrainConfig, calls: CollectiveCalls) -> Heart:
    return Heart(
        config.training.output_dir,
        rank=dist.get_rank(),
        world_size=dist.get_world_size(),
        hang_timeout_s=config.training.hang_timeout_s,
        start_timeout_s=config.training.start_timeout_s,
        calls=calls,
    )


def _programs(config: TrainConfig) -> tuple[Active, ...]:
    return active(
        config.model.kernels,
        transformer_impl=config.model.transformer_impl,
        layer_norm_backend=config.model.layer_norm_backend,
        optimizer_backend=config.optimizer.backend,
    )


def _warn_of_warmup(config: TrainConfig) -> None:
    warmup, decay = config.optimizer.lr_warmup_iters, config.lr_decay_iters
    if warmup >= decay:
        _logger.warning("the learning rate does not reach its peak: %d steps of warm-up, %d in all", warmup, decay)


def _validation_batches(config: TrainConfig, datasets: Datasets, layout: Layout) -> GlobalBatches | None:
    if datasets.valid is None:
        return None
    # The first samples of one fixed order: every evaluation sees the same, and a large set is not cut by its beginning.
    return run_batches(config, datasets.valid, layout, num_positions=len(datasets.valid))


def _num_valid_batches(config: TrainConfig, datasets: Datasets) -> int:
    if datasets.valid is None:
        return 0
    return min(config.training.eval_iters, -(-len(datasets.valid) // config.training.global_batch_size))


def _write_manifest(
    config: TrainConfig, datasets: Datasets, progress: Progress, fingerprint: str, started_at: float
) -> None:
    write_manifest(
        config.training.output_dir,
        command="train",
        config=config,
        inputs=datasets.inputs,
        counts={
            "steps": progress.step,
            "steps_without_tokens": progress.num_empty,
            "skipped_steps": progress.spikes.num_skipped,
            **_best(progress),
            "tokens": progress.num_tokens,
            **shares_of_positions(read_metrics(config.training.output_dir)),
            **datasets.counts,
            "train_samples": len(datasets.train),
            "valid_samples": len(datasets.valid) if datasets.valid is not None else 0,
            "parameters": config.model.num_parameters(config.tokenizer.true_vocab_size),
        },
        started_at=started_at,
        extra={
            "data_fingerprint": fingerprint,
            "kernels": {each.operation: each.program for each in _programs(config)},
        },
    )


def _best(progress: Progress) -> dict[str, Any]:
    plateau = progress.plateau
    if plateau.best_step is None:
        return {}
    return {"best_step": plateau.best_step, "best_valid_loss": plateau.best_loss}


def _outcome(config: TrainConfig, progress: Progress, *, already_done: bool) -> str:
    where = f"in {config.training.output_dir}"
    if already_done:
        return f"{config.task}: all {progress.step} steps were done before; nothing to do {where}"
    plateau = progress.plateau
    if plateau.best_step is not None:
        where += f"; best validation loss {plateau.best_loss:.6g} after step {plateau.best_step} (checkpoints/best)"
    if plateau.has_ended(config.training):
        where += (
            f", {plateau.num_worse} evaluations since then were not better: ended before {config.training.train_iters}"
        )
    empty, spikes = progress.num_empty, progress.spikes.num_skipped
    skipped = f", {empty} of them without a token to train on" if empty else ""
    skipped += f", {spikes} of them skipped for their loss" if spikes else ""
    return f"{config.task}: {progress.step} steps{skipped}, {progress.num_tokens:,} tokens {where}"
