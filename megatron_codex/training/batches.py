"""Which samples a step trains on, and this rank's share of them as tensors.

In: a SampleSource and an order. Out: the micro-batches of a step, all of one sequence length, so that pipeline stages
know the shapes they receive. The global batch of step t (from 0) is positions t * G .. (t + 1) * G of the order, G its
size: it does not depend on the layout. Data-parallel rank r takes the r-th part of it.

Shapes: B samples of a micro-batch, S positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from megatron_codex.config.training import TrainConfig
from megatron_codex.data.batch import PADDING_DOCUMENT, Batch, SampleSource
from megatron_codex.data.blend import BlendedSource
from megatron_codex.data.length_groups import LengthGroupedOrder
from megatron_codex.data.order import ShuffledOrder
from megatron_codex.model.attention import attention_mask, left_padding, takes_left_padding
from megatron_codex.parallel.groups import Layout

Order = Callable[[NDArray[np.int64]], NDArray[np.int64]]
"""Positions in the run -> sample indices."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """What a rank runs forward and backward at a time."""

    tokens: Tensor
    """[B, S] ids."""
    labels: Tensor
    """[B, S] the id after each position."""
    loss_mask: Tensor
    """[B, S] 1.0 where the label counts in the loss, else 0.0."""
    position_ids: Tensor
    """[B, S]"""
    attention_mask: Tensor | None
    """What model/attention.py makes of the documents' ids, [B, S], [B, 1, S, S] or [B]; None: plainly causal."""


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """A rank's share of a global batch."""

    micro_batches: list[MicroBatch]
    seq_length: int
    """Positions of every micro-batch of the global batch, on all ranks."""
    num_positions: int
    """Of the global batch, on all ranks, padding included."""
    num_loss_tokens: int
    """Labels of this rank's share that count in the loss."""
    num_padding: int
    """Positions of this rank's share that hold no document."""
    largest_token: int
    """Largest token id of this rank's share, labels included; a negative one counts as beyond every vocabulary."""


@dataclass(frozen=True, kw_only=True)
class GlobalBatches:
    """The batches of a run, by step."""

    source: SampleSource
    order: Order
    global_batch_size: int
    micro_batch_size: int
    dp_rank: int
    dp_size: int
    length_multiple: int = 1
    """The sequence length is rounded up to a multiple: sequence parallelism cuts it into equal parts."""
    num_positions: int | None = None
    """Positions from here on fill up the last batch and count nothing in the loss; none: there is no end."""
    by_left_padding: bool = False
    """Rows are of one document, and attention takes how far each is padded on the left instead of a mask."""
    device: str = "cpu"
    """torch device of the tensors."""

    def at(self, step: int) -> StepBatch:
        """This rank's share of the global batch of a step, counted from 0."""
        positions = range(step * self.global_batch_size, (step + 1) * self.global_batch_size)
        indices = self.order(np.array(positions)).tolist()
        seq_length = _round_up(self.source.sequence_length(indices), self.length_multiple)
        share = self.global_batch_size // self.dp_size
        first = self.dp_rank * share
        batches = []
        for start in range(first, first + share, self.micro_batch_size):
            part = slice(start, start + self.micro_batch_size)
            batch = self.source.batch(indices[part], seq_length=seq_length)
            batches.append(self._without_rows_beyond_the_end(batch, positions[part]))
        return StepBatch(
            micro_batches=[self._to_tensors(batch) for batch in batches],
            seq_length=seq_length,
            num_positions=self.global_batch_size * seq_length,
            num_loss_tokens=sum(batch.num_loss_tokens for batch in batches),
            num_padding=sum(_num_padding(batch) for batch in batches),
            largest_token=max(_largest(ids) for batch in batches for ids in (batch.tokens, batch.labels)),
        )

    def _without_rows_beyond_the_end(self, batch: Batch, positions: Sequence[int]) -> Batch:
        if self.num_positions is None or positions[-1] < self.num_positions:
            return batch
        counts_B1 = (np.asarray(positions) < self.num_positions).astype(np.float32)[:, None]
        return replace(batch, loss_mask=batch.loss_mask * counts_B1)  # not in place: the source may keep its arrays

    def _to_tensors(self, batch: Batch) -> MicroBatch:
        def tensor(array: np.ndarray) -> Tensor:
            return torch.tensor(array, device=self.device)

        return MicroBatch(
            tokens=tensor(batch.tokens),
            labels=tensor(batch.labels),
            loss_mask=tensor(batch.loss_mask),
            position_ids=tensor(batch.position_ids),
            attention_mask=None if batch.document_ids is None else self._mask(batch.document_ids),
        )

    def _mask(self, document_ids_BS: NDArray[np.int64]) -> Tensor:
        if self.by_left_padding:
            return torch.tensor(left_padding(document_ids_BS), device=self.device)
        return attention_mask(torch.tensor(document_ids_BS, device=self.device))


def run_batches(
    config: TrainConfig, source: SampleSource, layout: Layout | None, *, num_positions: int | None = None
) -> GlobalBatches:
    """This rank's batches of a run, in the run's order. layout: none for the whole global batches, on one rank.

    num_positions: as GlobalBatches has it. Samples of like lengths are grouped in training alone, which has no end: of
    an evaluation, whose first batches stand for all, each must hold samples of every length.
    """
    groups = config.data.group_by_length and num_positions is None
    pads_on_the_left = config.task != "base" and config.data.layout == "left_padded"
    return GlobalBatches(
        source=source,
        order=run_order(
            source, seed=config.training.seed, grouped_into=config.training.global_batch_size if groups else None
        ),
        global_batch_size=config.training.global_batch_size,
        micro_batch_size=config.training.micro_batch_size,
        dp_rank=0 if layout is None else layout.dp_rank,
        dp_size=1 if layout is None else layout.dp_size,
        length_multiple=config.parallel.tensor_model_parallel_size if config.parallel.sequence_parallel else 1,
        num_positions=num_positions,
        by_left_padding=pads_on_the_left and takes_left_padding(config.model.attention_backend),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )


def run_order(source: SampleSource, *, seed: int, grouped_into: int | None = None) -> Order:
    """The order in which a run takes a source's samples: shuffled, but for a blend, which is mixed evenly already.

    Shuffled as well, each part's share would be right on average only. grouped_into: the size of batches that are to
    hold samples of like lengths, which the source then tells (`lengths`, as PromptedDataset has it).
    """
    if grouped_into is not None:
        return LengthGroupedOrder(source.lengths, batch_size=grouped_into, seed=seed)  # type: ignore[attr-defined]
    return source.order if isinstance(source, BlendedSource) else ShuffledOrder(len(source), seed)


def _num_padding(batch: Batch) -> int:
    return 0 if batch.document_ids is None else int(np.count_nonzero(batch.document_ids == PADDING_DOCUMENT))


def _largest(ids: NDArray[np.int64]) -> int:
    return int(ids.view(np.uint64).max())


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
