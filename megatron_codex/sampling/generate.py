"""Samples of many prompts: batches over them, in this process or several, in a fixed order.

In: prompts and a checkpoint. Out: Completions, prompt by prompt and sample by sample, the same for every batch size and
number of workers. torch is imported where batches are decoded only (sampling/worker.py): a process that hands its
batches to workers never loads it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import resolve_checkpoint
from megatron_codex.records import Completion
from megatron_codex.sampling.stopping import Stop


@dataclass(frozen=True)
class Prompt:
    """What the model is given for one task."""

    task_id: str
    text: str


@dataclass(frozen=True)
class Work:
    """One batch: consecutive (prompt, sample index) pairs."""

    items: tuple[tuple[Prompt, int], ...]
    config: GenerationConfig
    stop: Stop


def generate(
    checkpoint: Path, prompts: Sequence[Prompt], *, config: GenerationConfig, stop: Stop, skip: int = 0
) -> Iterator[Completion]:
    """Draw config.num_samples of each prompt, in order; the first `skip` samples of that order are left out.

    Raises: InputError for a prompt without text or two of one task_id, or a checkpoint or device that is not usable.
    """
    require_distinct(prompts)
    step_directory = resolve_checkpoint(checkpoint)
    items = [(prompt, index) for prompt in prompts for index in range(config.num_samples)][skip:]
    size = config.batch_size
    batches = [Work(tuple(items[start : start + size]), config, stop) for start in range(0, len(items), size)]
    decode = partial(_decode, step_directory)
    if config.workers == 1:
        for batch in batches:
            yield from decode(batch)
        return
    # Spawned, for a forked torch may hang in its thread pool.
    with ProcessPoolExecutor(config.workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        for completions in executor.map(decode, batches):
            yield from completions


def require_distinct(prompts: Iterable[Prompt]) -> None:
    """Raise InputError for an empty prompt, or a task_id of two prompts: their samples could not be told apart."""
    seen: set[str] = set()
    for prompt in prompts:
        if not prompt.text:
            raise InputError(f"{prompt.task_id}: prompt", rule="is empty", remedy="leave this problem out")
        if prompt.task_id in seen:
            remedy = "give each problem its own task_id"
            raise InputError("task_id", value=prompt.task_id, rule="stands for two problems", remedy=remedy)
        seen.add(prompt.task_id)


def _decode(step_directory: Path, work: Work) -> list[Completion]:
    from megatron_codex.sampling.worker import decode

    return decode(step_directory, work)
