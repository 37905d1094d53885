"""Samples of many prompts: batches over them, in this process or several, in a fixed order.

In: prompts and a checkpoint. Out: Completions, prompt by prompt and sample by sample, the same for every batch size,
number of workers and layout of ranks. torch is imported where batches are decoded only (sampling/worker.py): a process
that hands its batches to workers never loads it.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_files import read_checkpoint_manifest, resolve_checkpoint
from megatron_codex.ops.programs import Active, Device, in_words, of_sampling, require_kernels
from megatron_codex.records import Completion
from megatron_codex.sampling.stopping import Stop
from megatron_codex.sampling.work import Decode, Item, Prompt, Work

if TYPE_CHECKING:
    from megatron_codex.sampling.ranks import ModelRanks


_logger = logging.getLogger(__name__)


def generate(
    checkpoint: Path, prompts: Sequence[Prompt], *, config: GenerationConfig, stop: Stop
) -> Iterator[Completion]:
    """Draw config.num_samples of each prompt, in order.

    Raises: InputError for a prompt without text or two of one task_id, or a checkpoint, device or kernels that are not
    usable.
    """
    require_distinct(prompts)
    step_directory = resolve_checkpoint(checkpoint)
    _logger.info("kernels=%s: %s", config.kernels, in_words(programs(config, step_directory)))
    items = [(prompt, index) for prompt in prompts for index in range(config.num_samples)]
    yield from draw_items(native(step_directory), items, config=config, stop=stop)


def draw_items(
    decode: Decode,
    items: Sequence[Item],
    *,
    config: GenerationConfig,
    stop: Stop,
    token_logps: bool = False,
) -> Iterator[Completion]:
    """Draw these samples, in order. token_logps: give the tokens and log p of each, too.

    Raises: what decode raises.
    """
    size = config.batch_size
    starts = range(0, len(items), size)
    batches = [Work(tuple(items[start : start + size]), config, stop, token_logps) for start in starts]
    if config.workers == 1:
        for batch in batches:
            yield from decode(batch)
        return
    # Spawned, for a forked torch may hang in its thread pool.
    with ProcessPoolExecutor(config.workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        for completions in executor.map(decode, batches):
            yield from completions


def programs(config: GenerationConfig, step_directory: Path) -> tuple[Active, ...]:
    """Whose programs will draw samples natively.

    Raises: InputError where the kernels asked for cannot be had.
    """
    device: Device = "cuda" if config.device.startswith("cuda") else "cpu"
    head_size = _head_size(step_directory) if device == "cuda" else None
    require_kernels(config.kernels, device=device, field="kernels", head_size=head_size)
    return of_sampling(config.kernels, device=device, field="kernels", head_size=head_size)


def native(step_directory: Path, *, ranks: ModelRanks | None = None) -> Decode:
    """Decoding by this project's own decoder. ranks: those that share the model, each of which draws the same items.

    It raises InputError for a checkpoint, a device or a layout that is not usable.
    """
    return partial(_decode, step_directory, ranks)


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


def _head_size(step_directory: Path) -> int:
    model = build_config(
        ModelConfig, read_checkpoint_manifest(step_directory)["config"]["model"], source=str(step_directory)
    )
    return model.hidden_size // model.num_attention_heads


def _decode(step_directory: Path, ranks: ModelRanks | None, work: Work) -> list[Completion]:
    from megatron_codex.sampling.worker import decode

    return decode(step_directory, work, ranks=ranks)
