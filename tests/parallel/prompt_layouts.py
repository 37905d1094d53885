"""Loss and gradients of the same prompted examples, arranged in three ways, on gloo ranks.

The arrangements: all in one left-padded batch of several micro-batches; packed; and one by one, each example in a step
of its own without a position of padding, the steps' gradients summed here. A fault, where one is named, is put into the
ranks before they compute; the examples one by one are then left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from tests.parallel.ranks import call_on_ranks

PAIRS = [
    ("def f(x):\n", "    return x\n"),
    ('def total(values):\n    """Sum."""\n', "    return sum(values)\n"),
    ("a", "b"),
    ("def g():\n", "    pass\n"),
    ("x = 1\n", "y = x + 1 + x\nz = y\n"),
    ("def h(a, b):\n    # both\n", "    return a"),
    ("for", " i in x:\n    pass\n"),
    ("import os\n\n\n", "os"),
]
"""Prompts of 1 to 29 tokens, completions of 2 to 24, the end of document included."""

JOB: dict[str, Any] = {
    "task": "codex_s",
    "model": {"num_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "seq_length": 64, "init_method_std": 0.2},
    "tokenizer": {"vocab_size": 300},
    "optimizer": {"lr": 1e-3},
    "training": {"global_batch_size": len(PAIRS), "output_dir": "not-written", "train_iters": 1},
    "data": {"problems": "none"},
}

Found = dict[str, tuple[float, dict[str, Tensor]]]
"""Arrangement -> loss, and gradients by name, float64, without rows of vocabulary padding."""


def measure(world_size: int, cases: Mapping[str, Mapping[str, Any]], directory: Path) -> dict[str, Found]:
    """Each case on `world_size` ranks. A case: "parallel", the section of the configuration, and perhaps "fault"."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cases.json").write_text(json.dumps(cases))
    call_on_ranks(world_size, measure_on_rank, directory)
    found: dict[str, Found] = torch.load(directory / "found.pt")
    return found


def measure_on_rank(directory: Path) -> None:
    """Every case, as one of the ranks."""
    import torch.distributed as dist

    found: dict[str, Found] = {}
    for name, case in json.loads((directory / "cases.json").read_text()).items():
        with FAULTS[case["fault"]]() if "fault" in case else nullcontext():
            found[name] = _measure(case["parallel"], one_by_one="fault" not in case)
    if dist.get_rank() == 0:
        torch.save(found, directory / "found.pt")


def _measure(parallel: Mapping[str, Any], *, one_by_one: bool) -> Found:
    from megatron_codex.config.load import build_config
    from megatron_codex.config.training import TrainConfig
    from megatron_codex.data.prompted import PromptedDataset
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.tokenizer.codex import CodexTokenizer
    from megatron_codex.training.batches import run_batches
    from megatron_codex.training.engine import build_engine
    from megatron_codex.training.randomness import seed_step
    from megatron_codex.training.state import initialise

    config = build_config(TrainConfig, JOB | {"parallel": dict(parallel)})
    padded, packed = (
        PromptedDataset(PAIRS, tokenizer=CodexTokenizer(300), seq_length=64, layout=layout)
        for layout in ("left_padded", "packed")
    )
    with model_parallel(config.parallel) as layout:
        seed_step(config.training.seed, 0, layout)
        engine = build_engine(config)
        initialise(engine, config)
        batches = replace(run_batches(config, padded, layout), order=lambda positions: positions)
        arranged = {
            "left_padded": [replace(batches, micro_batch_size=4)],
            "packed": [replace(batches, source=packed, global_batch_size=len(packed))],
        }
        if one_by_one:
            arranged["one_by_one"] = [replace(batches, global_batch_size=1)] * len(PAIRS)
        return {name: _summed(engine, layout, steps) for name, steps in arranged.items()}


def _summed(engine: Any, layout: Any, batches: Sequence[Any]) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients over step k of the k-th batches, as of one batch that has all their tokens."""
    from megatron_codex.model.initialization import WORD_EMBEDDINGS
    from megatron_codex.parallel.verify_pieces import full_tensors, gather_pieces
    from megatron_codex.training.step import train_step
    from megatron_codex.training.verify_steps import before_updates, gradient_pieces

    loss, num_tokens, gradients = 0.0, 0, dict[str, Tensor]()
    for step, each in enumerate(batches):
        pieces: list[Any] = []

        def gather(into: list[Any] = pieces) -> None:
            into += gather_pieces(gradient_pieces(engine))

        with before_updates(engine, gather, update=False):
            result = train_step(engine, each, layout, step=step, learning_rate=0.0, vocab_size=300)
        assert result.loss is not None
        loss, num_tokens = loss + result.loss * result.num_tokens, num_tokens + result.num_tokens
        for name, gradient in full_tensors(pieces).items():
            true = gradient[:300] if name == WORD_EMBEDDINGS else gradient  # rows of padding depend on the layout
            gradients[name] = gradients.get(name, 0) + true * result.num_tokens
    return loss / num_tokens, {name: gradient / num_tokens for name, gradient in gradients.items()}


def _in_rows(layout: str, change: Callable[[Any], Any]) -> Callable[[], Any]:
    """A fault in the rows that a data set of this layout makes."""

    @contextmanager
    def fault() -> Iterator[None]:
        from megatron_codex.data.prompted import PromptedDataset

        make = PromptedDataset.batch

        def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
            batch = make(self, *args, **kwargs)
            return change(batch) if self.layout == layout else batch

        with patch.object(PromptedDataset, "batch", faulty):
            yield

    return fault


def _columns(batch: Any) -> np.ndarray:
    return np.broadcast_to(np.arange(batch.tokens.shape[1]), batch.tokens.shape).copy()


def _one_more_label(batch: Any) -> Any:
    """The last but one label of each prompt counts, too."""
    starts = np.diff(batch.loss_mask, axis=1, append=0) > 0
    return replace(batch, loss_mask=np.maximum(batch.loss_mask, starts))


def _without_ends(batch: Any) -> Any:
    ends = np.diff(batch.loss_mask, axis=1, append=0) < 0
    return replace(batch, loss_mask=batch.loss_mask * ~ends)


@contextmanager
def _mean_of_means() -> Iterator[None]:
    from megatron_codex.training import loss

    right = loss.masked_loss

    def wrong(losses_BS: Tensor, *, loss_mask_BS: Tensor, num_tokens: int) -> Any:
        return right(losses_BS, loss_mask_BS=loss_mask_BS, num_tokens=2 * int(loss_mask_BS.sum()))

    with patch.object(loss, "masked_loss", wrong):
        yield


@contextmanager
def _labels_of_the_next_row() -> Iterator[None]:
    from megatron_codex.model import head

    right = head.linear_cross_entropy

    def wrong(hidden_NH: Tensor, weight_VH: Tensor, labels_N: Tensor, **kwargs: Any) -> Tensor:
        return right(hidden_NH, weight_VH, labels_N.roll(1), **kwargs)

    with patch.object(head, "linear_cross_entropy", wrong):
        yield


FAULTS: dict[str, Callable[[], Any]] = {
    "packed_positions_go_on": _in_rows("packed", lambda batch: replace(batch, position_ids=_columns(batch))),
    "packed_examples_see_each_other": _in_rows(
        "packed", lambda batch: replace(batch, document_ids=np.minimum(batch.document_ids, 0))
    ),
    "left_padding_is_seen": _in_rows(
        "left_padded", lambda batch: replace(batch, document_ids=np.maximum(batch.document_ids, 0))
    ),
    "left_padding_has_positions": _in_rows("left_padded", lambda batch: replace(batch, position_ids=_columns(batch))),
    "one_label_of_the_prompt_counts": _in_rows("packed", _one_more_label),
    "ends_are_masked": _in_rows("left_padded", _without_ends),
    "mean_of_micro_batch_means": _mean_of_means,
    "labels_of_the_next_row": _labels_of_the_next_row,
}
