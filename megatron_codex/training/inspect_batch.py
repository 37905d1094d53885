"""The global batch of one step, made as training makes it, and checked.

In: a training configuration and a step. Out: an InspectedBatch in plain arrays, for the terminal and for a page.
"""

from __future__ import annotations

import numpy as np
import torch

from megatron_codex.config.inspect_batch import InspectBatchConfig
from megatron_codex.data.batch_checks import Expectation, check_batch
from megatron_codex.data.inspected_batch import InspectedBatch
from megatron_codex.data.seen_batch import ExpectedExamples, SeenBatch
from megatron_codex.errors import InputError
from megatron_codex.model.attention import hidden_keys
from megatron_codex.tokenizer.codex import CodexTokenizer
from megatron_codex.training.batches import MicroBatch, run_batches
from megatron_codex.training.datasets import ReadPairs, build_datasets, read_task_pairs


def inspect_batch(config: InspectBatchConfig, *, read_pairs: ReadPairs | None) -> InspectedBatch:
    """Build the run's data, take the batch of the step, check it.

    read_pairs: of the task, as build_datasets takes it. Raises: InputError for missing, damaged or too small data.
    """
    datasets = build_datasets(config, read_pairs=read_pairs)
    source = datasets.train if config.split == "train" else datasets.valid
    assert source is not None, "the configuration checks that the run evaluates"
    num_rows = _rows_of_the_step(config, len(source))
    batches = run_batches(config, source, None, num_positions=len(source) if config.split == "valid" else None)
    tokenizer = CodexTokenizer.from_config(config.tokenizer)
    batch = _join([_seen(each) for each in batches.at(config.step - 1).micro_batches], num_rows=num_rows)
    expected = Expectation(
        eod=tokenizer.eod,
        vocab_size=tokenizer.vocab_size,
        examples=_expected_examples(config, read_pairs, tokenizer),
        trains_end_of_text=config.data.train_end_of_text,
    )
    return InspectedBatch(
        title=f"{config.task}, {config.split}, step {config.step}",
        batch=batch,
        spans=tuple(batch.spans(padding=tokenizer.eod)),
        checks=tuple(check_batch(batch, expected)),
        tokenizer=tokenizer,
    )


def _rows_of_the_step(config: InspectBatchConfig, num_samples: int) -> int:
    """An evaluation's last batch is filled up with rows that count nothing: they are not looked at."""
    size = config.training.global_batch_size
    if config.split == "train":
        return size
    num_batches = min(config.training.eval_iters, -(-num_samples // size))
    if config.step > num_batches:
        rule, remedy = f"an evaluation has {num_batches} batches", "give one of them, from 1"
        raise InputError("step", value=config.step, rule=rule, remedy=remedy)
    return min(size, num_samples - (config.step - 1) * size)


def _join(batches: list[SeenBatch], *, num_rows: int) -> SeenBatch:
    """Micro-batches of one step, one below the other."""
    fields = ("tokens", "labels", "trained", "position_ids", "first_seen", "sees_a_span")
    return SeenBatch(
        **{name: np.concatenate([getattr(batch, name) for batch in batches])[:num_rows] for name in fields}
    )


def _seen(batch: MicroBatch) -> SeenBatch:
    def array(tensor: torch.Tensor) -> np.ndarray:
        return tensor.cpu().numpy()

    hidden = None if batch.attention_mask is None else hidden_keys(batch.attention_mask, batch.tokens.shape[1])
    return SeenBatch.of(
        tokens=array(batch.tokens),
        labels=array(batch.labels),
        loss_mask=array(batch.loss_mask),
        position_ids=array(batch.position_ids),
        hidden=None if hidden is None else array(hidden[:, 0]),
    )


def _expected_examples(
    config: InspectBatchConfig, read_pairs: ReadPairs | None, tokenizer: CodexTokenizer
) -> ExpectedExamples | None:
    if config.task == "base":
        return None
    assert read_pairs is not None
    pairs = read_task_pairs(config, read_pairs)
    return ExpectedExamples((pair.texts for pair in getattr(pairs, config.split)), tokenizer)
