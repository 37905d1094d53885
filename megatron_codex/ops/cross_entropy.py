"""Cross entropy over a tensor-parallel rank's columns: the kernels of csrc/kernels/vocab_parallel_ce.cu, or C++ on a
CPU, or torch.

In: logits [N, V] of which num_columns are no padding, labels [N] as columns of this rank (others' lie outside), a mask
of the rows that count or none. Out: pieces that ranks join, the loss of each row, and the logits overwritten by their
gradient. ops/linear_cross_entropy.py joins them with the product before; `cross_entropy` is the whole for one rank.

Shapes: N rows, V columns on this rank; sums_2N: of exp(logit - largest), and the label's logit, 0 where it is
elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import reference, rows
from megatron_codex.ops.registered import register, wide, wide_dtype

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def cross_entropy(
    logits_NV: Tensor, labels_N: Tensor, *, loss_mask_N: Tensor | None = None, num_columns: int | None = None
) -> Tensor:
    """-log p(label) of each row, fp32, 0 where the mask is; NaN for a label that is no column. Differentiable.

    labels_N: of any integer type. num_columns: columns that are not padding; none: all. loss_mask_N: bool; rows that do
    not count are not read.

    Raises: ValueError for shapes and types that do not fit.
    """
    columns = logits_NV.shape[-1] if num_columns is None else num_columns
    _check(logits_NV, labels_N, loss_mask_N, columns)
    mask_N = None if loss_mask_N is None else loss_mask_N.contiguous()
    return _cross_entropy(logits_NV, labels_N.long().contiguous(), mask_N, columns)[0]


def _check(logits_NV: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, num_columns: int) -> None:
    if logits_NV.dim() != 2:
        raise ValueError(f"cross_entropy: logits must be a matrix; their shape is {tuple(logits_NV.shape)}")
    num_rows, padded = logits_NV.shape
    if labels_N.shape != (num_rows,) or labels_N.dtype not in _INTEGERS:
        given = f"{labels_N.dtype} {tuple(labels_N.shape)}"
        raise ValueError(f"cross_entropy: labels must be integers, one for each of {num_rows} rows; they are {given}")
    if loss_mask_N is not None and (loss_mask_N.shape != (num_rows,) or loss_mask_N.dtype != torch.bool):
        given = f"{loss_mask_N.dtype} {tuple(loss_mask_N.shape)}"
        raise ValueError(f"cross_entropy: loss_mask must be bool, one for each of {num_rows} rows; it is {given}")
    if not 0 <= num_columns <= padded:
        raise ValueError(f"cross_entropy: num_columns must be from 0 to the logits' {padded}; it is {num_columns}")


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The row-wise functions of one choice, in the order of ops/linear_cross_entropy.py."""

    pieces: Callable[[Tensor, Tensor, Tensor | None, int], tuple[Tensor, Tensor]]
    """(logits, labels, mask or None, num_columns) -> (largest_N, sums_2N): what ranks all-reduce by MAX and, rescaled,
    by SUM."""
    rescale: Callable[[Tensor, Tensor, Tensor], None]
    """(sums_2N, local_largest_N, largest_N): in place, sums of exp(logit - local largest) become those of exp(logit -
    largest)."""
    gradient: Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor, int], None]
    """(logits, labels, mask or None, log_sums_N, gradients_N, num_columns): in place, logits become (exp(logit -
    log_sum) - [column is the label]) * gradient of the row's loss, 0 in padding and in rows that do not count."""
    at_once: Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]] | None
    """(logits, labels, gradients_N, num_columns) -> (largest_N, sums_2N): pieces, and logits become their gradient, for
    a rank that has the whole vocabulary. None: it would gain nothing."""


def _pieces(logits_NV: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, num_columns: int) -> tuple[Tensor, Tensor]:
    return reference.ce_pieces(logits_NV, labels_N, loss_mask_N, true_columns=num_columns, first_column=0)


def _pieces_cpu(
    logits_NV: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, num_columns: int
) -> tuple[Tensor, Tensor]:
    if loss_mask_N is not None or not rows.takes(logits_NV):
        return _pieces(logits_NV, labels_N, loss_mask_N, num_columns)
    largest_N, sums_N = rows.row_statistics(_with_whole_rows(logits_NV)[:, :num_columns])
    return largest_N.clone(), torch.stack((sums_N, _at_labels(logits_NV, labels_N, num_columns)))


def _at_labels(logits_NV: Tensor, labels_N: Tensor, num_columns: int) -> Tensor:
    if logits_NV.shape[1] == 0:
        return logits_NV.new_zeros(len(logits_NV), dtype=wide_dtype(logits_NV))
    here_N = (labels_N >= 0) & (labels_N < num_columns)
    at_label_N1 = logits_NV.gather(1, labels_N.clamp(0, logits_NV.shape[1] - 1)[:, None])
    return torch.where(here_N, wide(at_label_N1[:, 0]), 0.0)


def _rescale(sums_2N: Tensor, local_largest_N: Tensor, largest_N: Tensor) -> None:
    reference.ce_rescale(sums_2N, local_largest_N=local_largest_N, largest_N=largest_N)


def _loss(
    largest_N: Tensor, sums_2N: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, vocabulary: int
) -> tuple[Tensor, Tensor]:
    losses_N, _, log_sums_N = reference.ce_loss(largest_N, sums_2N, labels_N, loss_mask_N, vocabulary=vocabulary)
    return losses_N, log_sums_N


def _gradient(
    logits_NV: Tensor,
    labels_N: Tensor,
    loss_mask_N: Tensor | None,
    log_sums_N: Tensor,
    gradients_N: Tensor,
    num_columns: int,
) -> None:
    reference.ce_gradient(
        logits_NV,
        labels_N,
        loss_mask_N,
        log_sums_N=log_sums_N,
        loss_gradients_N=gradients_N,
        true_columns=num_columns,
        first_column=0,
        zero_ignored=True,
    )


def _reference_gradient(logits_NV: Tensor, *rest: Any) -> None:
    if not rows.is_fake(logits_NV):  # which rows have their label here depends on what labels hold
        _gradient(logits_NV, *rest)


def _gradient_cpu(
    logits_NV: Tensor,
    labels_N: Tensor,
    loss_mask_N: Tensor | None,
    log_sums_N: Tensor,
    gradients_N: Tensor,
    num_columns: int,
) -> None:
    if loss_mask_N is not None or not rows.in_order(logits_NV) or not rows.takes(logits_NV):
        _gradient(logits_NV, labels_N, loss_mask_N, log_sums_N, gradients_N, num_columns)
        return
    rows.cross_entropy_gradient(
        logits_NV, true_columns=num_columns, labels_N=labels_N, log_sums_N=log_sums_N, gradients_N=gradients_N
    )


def _at_once(logits_NV: Tensor, labels_N: Tensor, gradients_N: Tensor, num_columns: int) -> tuple[Tensor, Tensor]:
    largest_N, sums_2N = _ce_pieces(logits_NV, labels_N, None, num_columns)
    log_sums_N = largest_N + sums_2N[0].log()
    _ce_gradient(logits_NV, labels_N, None, log_sums_N, gradients_N.contiguous(), num_columns)
    return largest_N, sums_2N


def _at_once_cpu(logits_NV: Tensor, labels_N: Tensor, gradients_N: Tensor, num_columns: int) -> tuple[Tensor, Tensor]:
    if not rows.in_order(logits_NV) or not rows.takes(logits_NV):
        return _at_once(logits_NV, labels_N, gradients_N, num_columns)
    return rows.cross_entropy(logits_NV, true_columns=num_columns, labels_N=labels_N, gradients_N=gradients_N)


def _with_whole_rows(logits_NV: Tensor) -> Tensor:
    return logits_NV if logits_NV.stride(1) == 1 else logits_NV.contiguous()


def _whole(logits_NV: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, num_columns: int) -> tuple[Tensor, Tensor]:
    if logits_NV.is_cuda:  # whose kernel takes no gaps between rows
        logits_NV = logits_NV.contiguous()
    largest_N, sums_2N = _ce_pieces(logits_NV, labels_N, loss_mask_N, num_columns)
    losses_N, log_sums_N = _ce_loss(largest_N, sums_2N, labels_N, loss_mask_N, num_columns)
    return losses_N, log_sums_N


def _whole_gradient(
    logits_NV: Tensor,
    labels_N: Tensor,
    loss_mask_N: Tensor | None,
    log_sums_N: Tensor,
    gradients_N: Tensor,
    num_columns: int,
) -> Tensor:
    gradient_NV = logits_NV.clone(memory_format=torch.contiguous_format)
    _ce_gradient(gradient_NV, labels_N, loss_mask_N, log_sums_N, gradients_N.contiguous(), num_columns)
    return gradient_NV


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    logits_NV, labels_N, loss_mask_N, ctx.num_columns = inputs
    ctx.save_for_backward(logits_NV, labels_N, loss_mask_N, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, gradients_N: Tensor, of_log_sums: Tensor) -> tuple[Tensor, None, None, None]:
    logits_NV, labels_N, loss_mask_N, log_sums_N = ctx.saved_tensors
    gradient = _cross_entropy_gradient(logits_NV, labels_N, loss_mask_N, log_sums_N, gradients_N, ctx.num_columns)
    return gradient, None, None, None


def _rows_like(logits_NV: Tensor, *sizes: int) -> Tensor:
    return logits_NV.new_empty(*sizes, logits_NV.shape[0], dtype=wide_dtype(logits_NV))


_ce_pieces = register(
    "ce_pieces(Tensor logits, Tensor labels, Tensor? loss_mask, int num_columns) -> (Tensor, Tensor)",
    reference=_pieces,
    cpu=_pieces_cpu,
    fake=lambda logits, labels, mask, columns: (_rows_like(logits), _rows_like(logits, 2)),
)
_ce_rescale = register(
    "ce_rescale_(Tensor(a!) sums, Tensor local_largest, Tensor largest) -> ()",
    reference=_rescale,
    fake=lambda sums, local_largest, largest: None,
)
_ce_loss = register(
    "ce_loss(Tensor largest, Tensor sums, Tensor labels, Tensor? loss_mask, int vocabulary) -> (Tensor, Tensor)",
    reference=_loss,
    fake=lambda largest, sums, labels, mask, vocabulary: (torch.empty_like(largest), torch.empty_like(largest)),
)
_ce_gradient = register(
    "ce_gradient_(Tensor(a!) logits, Tensor labels, Tensor? loss_mask, Tensor log_sums, Tensor loss_gradients,"
    " int num_columns) -> ()",
    reference=_gradient,
    cpu=_gradient_cpu,
    fake=lambda *arguments: None,
)
_ce_at_once = register(
    "ce_at_once_(Tensor(a!) logits, Tensor labels, Tensor loss_gradients, int num_columns) -> (Tensor, Tensor)",
    reference=_at_once,
    cpu=_at_once_cpu,
    fake=lambda logits, labels, gradients, columns: (_rows_like(logits), _rows_like(logits, 2)),
)
_cross_entropy = register(
    "cross_entropy(Tensor logits, Tensor labels, Tensor? loss_mask, int num_columns) -> (Tensor, Tensor)",
    reference=_whole,
    fake=lambda logits, labels, mask, columns: (_rows_like(logits), _rows_like(logits)),
    setup_context=_keep,
    backward=_gradients,
)
_cross_entropy_gradient = register(
    "cross_entropy_gradient(Tensor logits, Tensor labels, Tensor? loss_mask, Tensor log_sums, Tensor loss_gradients,"
    " int num_columns) -> Tensor",
    reference=_whole_gradient,
    fake=lambda logits, *rest: torch.empty_like(logits, memory_format=torch.contiguous_format),
)

REGISTERED = CrossEntropy(pieces=_ce_pieces, rescale=_ce_rescale, gradient=_ce_gradient, at_once=_ce_at_once)
"""By torch's dispatcher: CUDA kernel, C++ or torch."""
REFERENCE = CrossEntropy(pieces=_pieces, rescale=_rescale, gradient=_reference_gradient, at_once=None)
"""Plain torch."""
