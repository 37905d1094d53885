"""What a sampling process does: hold one checkpoint's model and decode batches with it.

In: a step's checkpoint directory and Work (sampling/work.py). Out: its Completions, in the order of its items.
"""

from __future__ import annotations

import multiprocessing
import os
from functools import lru_cache
from pathlib import Path

import torch

from megatron_codex.ops.programs import Kernels
from megatron_codex.records import Completion, prompt_sha256
from megatron_codex.sampling.batch import SampleRequest, decode_batch
from megatron_codex.sampling.loading import SamplingModel, load_sampling_model
from megatron_codex.sampling.ranks import ALONE, ModelRanks
from megatron_codex.sampling.work import Work


def decode(step_directory: Path, work: Work, *, ranks: ModelRanks | None = None) -> list[Completion]:
    """Draw the samples of one batch. The model, or this rank's part of it, is kept for the next one.

    Raises: InputError when the checkpoint, the device, the layout or the kernels are not usable.
    """
    model = _model(step_directory, work.config.precision, work.config.device, work.config.kernels, ranks or ALONE)
    tokens = {prompt.text: tuple(model.tokenizer.encode(prompt.text).tolist()) for prompt, _ in work.items}
    requests = [SampleRequest(prompt.task_id, index, tokens[prompt.text]) for prompt, index in work.items]
    samples = decode_batch(model, requests, config=work.config, stop=work.stop)
    return [
        sample.completion(
            seed=work.config.seed,
            checkpoint=model.checkpoint,
            prompt_sha256=prompt_sha256(prompt.text),
            token_logps=work.token_logps,
        )
        for sample, (prompt, _) in zip(samples, work.items, strict=True)
    ]


@lru_cache(maxsize=1)
def _model(step_directory: Path, precision: str, device: str, kernels: Kernels, ranks: ModelRanks) -> SamplingModel:
    if multiprocessing.parent_process() is not None:  # one of several workers: they share the cores
        torch.set_num_threads(1)
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    return load_sampling_model(step_directory, precision=precision, device=device, ranks=ranks, kernels=kernels)
