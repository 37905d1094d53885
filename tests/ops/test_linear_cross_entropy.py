"""The output layer with its loss, against torch's linear layer and cross entropy in fp32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops.cross_entropy import REFERENCE, REGISTERED, CrossEntropy
from megatron_codex.ops.linear_cross_entropy import linear_cross_entropy

NUM_ROWS, HIDDEN, COLUMNS, TRUE_COLUMNS = 13, 8, 130, 121


def _inputs(dtype: torch.dtype, num_rows: int = NUM_ROWS) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(0, TRUE_COLUMNS, (num_rows,))
    hidden, weight = torch.randn(num_rows, HIDDEN), torch.randn(COLUMNS, HIDDEN)
    return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), labels


@pytest.mark.parametrize("parts", [REGISTERED, REFERENCE], ids=["registered", "reference"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)], ids=["fp32", "bf16"])
def test_losses_and_gradients_are_torchs(dtype: torch.dtype, tolerance: float, parts: CrossEntropy) -> None:
    """bf16 rounds the logits, and so the losses, by 4e-3 of their size."""
    hidden, weight, labels = _inputs(dtype)
    weights = torch.linspace(0, 2, NUM_ROWS)  # the first row's loss does not count
    losses = linear_cross_entropy(hidden, weight, labels, true_columns=TRUE_COLUMNS, tp_group=None, parts=parts)
    (losses * weights).sum().backward()
    exact = [tensor.detach().float().requires_grad_() for tensor in (hidden, weight)]
    expected = F.cross_entropy((exact[0] @ exact[1].t())[:, :TRUE_COLUMNS], labels, reduction="none")
    (expected * weights).sum().backward()
    assert losses.dtype == torch.float32
    pairs = [(losses, expected), (hidden.grad, exact[0].grad), (weight.grad, exact[1].grad)]
    for got, wanted in pairs:
        assert got is not None and wanted is not None
        assert (got.float() - wanted).abs().max() <= tolerance * wanted.abs().max() * 4
    assert weight.grad is not None and not weight.grad[TRUE_COLUMNS:].any()
    assert hidden.grad is not None and not hidden.grad[0].any()


def test_a_weight_that_is_not_trained_gets_no_gradient_and_losses_alone_are_the_same() -> None:
    hidden, weight, labels = _inputs(torch.float32)
    how = {"true_columns": TRUE_COLUMNS, "tp_group": None}
    trained = linear_cross_entropy(hidden, weight, labels, **how)
    with torch.no_grad():
        assert torch.allclose(linear_cross_entropy(hidden, weight, labels, **how), trained, rtol=1e-6)
    frozen = linear_cross_entropy(hidden, weight.detach(), labels, **how)
    assert torch.equal(frozen, trained)
    both = torch.autograd.grad(trained.sum(), hidden)[0]
    assert torch.equal(torch.autograd.grad(frozen.sum(), hidden)[0], both)


def test_no_rows_give_no_loss_and_zero_gradients() -> None:
    hidden, weight, labels = _inputs(torch.float32, num_rows=0)
    losses = linear_cross_entropy(hidden, weight, labels, true_columns=TRUE_COLUMNS, tp_group=None)
    losses.sum().backward()
    assert losses.shape == (0,)
    assert weight.grad is not None and not weight.grad.any()


def test_a_second_backward_pass_is_refused() -> None:
    hidden, weight, labels = _inputs(torch.float32)
    total = linear_cross_entropy(hidden, weight, labels, true_columns=TRUE_COLUMNS, tp_group=None).sum()
    total.backward(retain_graph=True)
    with pytest.raises(AssertionError, match="overwritten"):
        total.backward()
