"""Run training jobs on several gloo ranks: one process a rank, several jobs one after the other in the same processes.

A job is a training configuration (nested mappings). Tasks codex_s and codex_d read their problems as JSON Lines of
{"prompt", "completion"}: what a Problem renders to is tested elsewhere. The key "blank_every": n takes the loss mask
off every n-th training sample, which no real data set does; "max_file_bytes": n stands for a disk that fills up;
"plant" is a fault of tests/training/planted.py.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240


def run_ranks(world_size: int, jobs: Sequence[Mapping[str, Any]], directory: Path) -> list[str]:
    """Train every job on `world_size` ranks; what rank 0 reports for each: its outcome, or "Error: message"."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "jobs.json").write_text(json.dumps(list(jobs)))
    call_on_ranks(world_size, train_jobs, directory)
    return [str(outcome) for outcome in json.loads((directory / "outcomes.json").read_text())]


def call_on_ranks(
    world_size: int, function: Callable[[Path], None], directory: Path, *, timeout_s: float = TIMEOUT_S
) -> None:
    """Call function(directory) on each of `world_size` gloo ranks, and see them end well."""
    ranks = start_ranks(world_size, function, directory)
    deadline = time.monotonic() + timeout_s
    try:
        for process in ranks:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in ranks]
    finally:
        end(ranks)
    assert codes == [0] * world_size, (directory / "rank0.log").read_text()[-3000:]


def start_ranks(world_size: int, function: Callable[[Path], None], directory: Path) -> list[ForkServerProcess]:
    """Start gloo ranks that call function(directory), which exists; their logs go to directory/rank<N>.log.

    The ranks are forks of one process that has imported torch and megatron-core, and computed nothing: to import them
    takes each rank of its own as long as most jobs do.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["megatron_codex.training.run", "megatron_codex.training.verify"])
    (directory / "store").unlink(missing_ok=True)  # of ranks that were killed: theirs must not answer for these
    each = [(rank, world_size, function, directory) for rank in range(world_size)]
    ranks = [context.Process(target=_be_rank, args=arguments) for arguments in each]
    for process in ranks:
        process.start()
    return ranks


def end(ranks: Sequence[ForkServerProcess]) -> None:
    """Kill what still runs: all at once, as when a machine loses its power."""
    for process in ranks:
        process.kill()
    for process in ranks:
        process.join()


def _be_rank(rank: int, world_size: int, function: Callable[[Path], None], directory: Path) -> None:
    with (directory / f"rank{rank}.log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world_size), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory / 'store'}", rank=rank, world_size=world_size)
    function(directory)
    dist.destroy_process_group()


class _Blanks:
    """A source of which every n-th sample has no token to train on."""

    def __init__(self, source: Any, every: int) -> None:
        self._source, self._every = source, every

    def __len__(self) -> int:
        return len(self._source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def batch(self, indices: Sequence[int], *, seq_length: int) -> Any:
        made = self._source.batch(indices, seq_length=seq_length)
        made.loss_mask[[index % self._every == 0 for index in indices]] = 0
        return made


def _with_blanks(build_datasets: Callable[..., Any], every: int, *args: Any, **kwargs: Any) -> Any:
    datasets = build_datasets(*args, **kwargs)
    return dataclasses.replace(datasets, train=_Blanks(datasets.train, every))


def _with_small_files(run_steps: Callable[..., Any], most_bytes: int, *args: Any) -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        return run_steps(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def train_jobs(directory: Path) -> None:
    """Train each job, as one of the ranks."""
    import torch.distributed as dist

    from megatron_codex.config.load import build_config
    from megatron_codex.config.training import TrainConfig
    from megatron_codex.data.family_split import Pairs
    from megatron_codex.errors import InputError, WorkError
    from megatron_codex.jsonl import read_jsonl
    from megatron_codex.training import run
    from tests.training.planted import planted

    def read_pairs(path: Path, *, families: bool = False) -> Pairs:
        return Pairs.of_texts((row["prompt"], row["completion"]) for row in read_jsonl(path))

    outcomes = []
    build_datasets, run_steps = run.build_datasets, run.run_steps
    for job in json.loads((directory / "jobs.json").read_text()):
        gc.collect()  # the last job's process groups, three threads each, which its model's cycles still hold
        every = job.pop("blank_every", 0)
        run.build_datasets = partial(_with_blanks, build_datasets, every) if every else build_datasets
        most_bytes = job.pop("max_file_bytes", 0)
        run.run_steps = partial(_with_small_files, run_steps, most_bytes) if most_bytes else run_steps
        try:
            with planted(job.pop("plant", None)):
                outcomes.append(run.train(build_config(TrainConfig, job), read_pairs=read_pairs))
        except (InputError, WorkError) as error:
            outcomes.append(f"{type(error).__name__}: {error}")
    if dist.get_rank() == 0:
        (directory / "outcomes.json").write_text(json.dumps(outcomes))
