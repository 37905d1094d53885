"""Samples of many prompts: batches over them, in this process or several, in a fixed order.

In: prompts and a checkpoint. Out: Completions, prompt by prompt and sample by sample, the same for every batch size and
number of workers.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.errors import InputError
from megatron_codex.records import Completion
from megatron_codex.sampling.batch import SampleRequest, decode_batch
from megatron_codex.sampling.loading import SamplingModel, load_sampling_model
from megatron_codex.sampling.stopping import Stop


@dataclass(frozen=True)
class Prompt:
    """What the model is given for one task."""

    task_id: str
    text: str


@dataclass(frozen=True)
class _Work:
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
    items = [(prompt, index) for prompt in prompts for index in range(config.num_samples)][skip:]
    size = config.batch_size
    work = [_Work(tuple(items[start : start + size]), config, stop) for start in range(0, len(items), size)]
    if config.workers == 1:
        model = load_sampling_model(checkpoint, precision=config.precision, device=config.device)
        for batch in work:
            yield from _decode(model, batch)
    else:
        yield from _generate_in_workers(checkpoint, work, config)


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


def prompt_sha256(text: str) -> str:
    """Fingerprint of a prompt's text, written into its samples."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _decode(model: SamplingModel, work: _Work) -> list[Completion]:
    tokens = {prompt.text: tuple(model.tokenizer.encode(prompt.text).tolist()) for prompt, _ in work.items}
    requests = [SampleRequest(prompt.task_id, index, tokens[prompt.text]) for prompt, index in work.items]
    samples = decode_batch(model, requests, config=work.config, stop=work.stop)
    return [
        sample.completion(seed=work.config.seed, checkpoint=model.checkpoint, prompt_sha256=prompt_sha256(prompt.text))
        for sample, (prompt, _) in zip(samples, work.items, strict=True)
    ]


def _generate_in_workers(checkpoint: Path, work: list[_Work], config: GenerationConfig) -> Iterator[Completion]:
    with ProcessPoolExecutor(
        config.workers,
        mp_context=multiprocessing.get_context("spawn"),  # a forked torch may hang in its thread pool
        initializer=_Worker.start,
        initargs=(checkpoint, config),
    ) as executor:
        for completions in executor.map(_Worker.run, work):
            yield from completions


class _Worker:
    """A worker process's model, loaded once."""

    model: SamplingModel

    @classmethod
    def start(cls, checkpoint: Path, config: GenerationConfig) -> None:
        torch.set_num_threads(1)
        cls.model = load_sampling_model(checkpoint, precision=config.precision, device=config.device)

    @classmethod
    def run(cls, work: _Work) -> list[Completion]:
        return _decode(cls.model, work)
