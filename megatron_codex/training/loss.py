"""The loss of a global batch: sum over its unmasked tokens / number of its unmasked tokens. Never a mean of means.

The number is that of all micro-batches and data-parallel ranks and is known before the forward pass, so each
micro-batch's sum is divided by it at once: gradients come out right by summing alone, whatever the layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from megatron_codex.training.batches import MicroBatch

LossFunction = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def forward_step(
    micro_batches: Iterator[MicroBatch], chunk: Callable[..., Tensor], *, num_tokens: int
) -> tuple[Tensor, LossFunction]:
    """megatron-core's forward step: a model chunk's output for the next micro-batch, and the loss of that output.

    num_tokens: unmasked tokens of the global batch.
    """
    batch = next(micro_batches)
    masks = {"attention_mask": batch.attention_mask, "loss_mask": batch.loss_mask}
    output = chunk(batch.tokens, batch.position_ids, labels=batch.labels, **masks)
    return output, partial(masked_loss, loss_mask_BS=batch.loss_mask, num_tokens=num_tokens)


def masked_loss(losses_BS: Tensor, *, loss_mask_BS: Tensor, num_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """(this micro-batch's part of the loss, a count that is not used, the plain sum of its losses)."""
    total = torch.sum(losses_BS.float() * loss_mask_BS)
    # megatron-core takes a triple as "a sum and its tokens" and would divide by the tokens later; see no_scaling.
    return total / num_tokens, _NO_TOKENS, total.detach()


def no_scaling(finalize: Callable[..., None]) -> Callable[..., None]:
    """megatron-core's finalize_model_grads without its count of tokens and division by them: the loss has it already,
    and two collectives a step are saved."""

    def finalize_model_grads(chunks: Any, num_tokens: Tensor | None = None, **kwargs: Any) -> None:
        finalize(chunks, None, **kwargs)

    return finalize_model_grads


_NO_TOKENS = torch.zeros((), dtype=torch.int)
