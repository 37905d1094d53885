"""The model's last product and its loss: rows that count, and labels that are no tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.ops.cross_entropy import REFERENCE, REGISTERED, CrossEntropy

# megatron-core 0.16.1 warns of its own groups.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:megatron")

VOCABULARY, PADDED = 11, 16


@pytest.mark.parametrize("cross_entropy", [REGISTERED, REFERENCE], ids=["registered", "reference"])
def test_a_label_beyond_the_vocabulary_is_nan_where_it_counts(cross_entropy: CrossEntropy) -> None:
    """Not the loss of a token without a logit, and neither in padding's columns nor below 0."""
    from megatron_codex.model.head import head_loss
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks
    from megatron_codex.platform.megatron_core import parallel_state

    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, 1, 8, generator=draw)
    weight = torch.randn(PADDED, 8, generator=draw)
    labels = torch.tensor([[0, 10, VOCABULARY, -1, 1000, -100]])
    mask = torch.tensor([[1.0, 1, 1, 1, 1, 0]])
    with joined_ranks(), model_parallel(ParallelConfig()):
        how: dict[str, Any] = {"true_vocab_size": VOCABULARY, "sequence_parallel": False}
        how |= {"tp_group": parallel_state.get_tensor_model_parallel_group(), "cross_entropy": cross_entropy}
        losses = head_loss(hidden, weight, labels_BS=labels, loss_mask_BS=mask, **how)[0]
    expected = F.cross_entropy((hidden[:2, 0] @ weight.t())[:, :VOCABULARY], labels[0, :2], reduction="none")
    torch.testing.assert_close(losses[:2], expected)
    assert losses[2:].isnan().tolist() == [True, True, True, False] and losses[5] == 0
