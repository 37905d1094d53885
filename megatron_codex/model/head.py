"""The loss of a model chunk that ends with the output layer: of the rows that count in the loss, and of no others.

In: the last layer norm's output, the output weight's shard, labels and the loss mask. Out: the loss of each position.
Rows without loss are left out before the product with the vocabulary, the largest of the model: in fine-tuning, where
prompts and padding are masked, most of it.

Shapes: S positions (S_sp of this rank under sequence parallelism), B samples, H hidden, V columns of this rank's shard.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_codex.ops.cross_entropy import CrossEntropy
from megatron_codex.ops.linear_cross_entropy import linear_cross_entropy
from megatron_codex.ops.rows import is_fake
from megatron_codex.platform.megatron_core import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)


def head_loss(
    hidden_SBH: Tensor,
    weight_VH: Tensor,
    *,
    labels_BS: Tensor,
    loss_mask_BS: Tensor | None,
    true_vocab_size: int,
    sequence_parallel: bool,
    tp_group: dist.ProcessGroup,
    cross_entropy: CrossEntropy,
) -> Tensor:
    """Loss of each position, [B, S] fp32; 0 where the mask is 0, NaN for a label that is no token of the vocabulary.

    loss_mask_BS: None where all positions count.
    """
    # Backwards both sum the hidden states' gradient over the vocabulary's shards.
    if sequence_parallel:
        hidden_SBH = gather_from_sequence_parallel_region(hidden_SBH, group=tp_group)
    else:
        hidden_SBH = copy_to_tensor_model_parallel_region(hidden_SBH, group=tp_group)
    hidden_NH = hidden_SBH.flatten(0, 1)
    labels_N = labels_BS.t().flatten()
    rows_N = None
    if loss_mask_BS is not None and not is_fake(loss_mask_BS):  # a dry run's masks hold nothing: it counts every row
        rows_N = torch.nonzero(loss_mask_BS.t().flatten())[:, 0]
    if rows_N is not None and len(rows_N) == len(labels_N):
        rows_N = None
    if rows_N is not None:
        hidden_NH, labels_N = hidden_NH[rows_N], labels_N[rows_N]
    columns = len(weight_VH)
    losses_N = linear_cross_entropy(
        hidden_NH,
        weight_VH,
        labels_N - columns * tp_group.rank(),
        true_columns=min(columns, max(0, true_vocab_size - columns * tp_group.rank())),
        tp_group=tp_group if tp_group.size() > 1 else None,
        parts=cross_entropy,
    )
    # No rank has such a label: to each it is another's, and the loss would be that of a token without a logit.
    losses_N = losses_N.masked_fill((labels_N < 0) | (labels_N >= true_vocab_size), torch.nan)
    if rows_N is not None:
        losses_N = losses_N.new_zeros(labels_BS.numel()).index_copy(0, rows_N, losses_N)
    return losses_N.view(labels_BS.t().shape).t()
