"""What an operation is given by mistake: taken as it is meant, or refused in one line on every device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops.bias_gelu import bias_gelu
from megatron_codex.ops.cross_entropy import REFERENCE, REGISTERED, CrossEntropy, cross_entropy
from megatron_codex.ops.linear_cross_entropy import linear_cross_entropy
from megatron_codex.ops.softmax import causal_softmax

ROWS, COLUMNS = 4, 7
LABELS = torch.tensor([0, 3, 6, 2])


def _logits(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"logits_NV": torch.zeros(1, ROWS, COLUMNS)}, r"logits must be a matrix; their shape is \(1, 4, 7\)"),
        ({"labels_N": LABELS[:1]}, r"labels must be integers, one for each of 4 rows; they are torch.int64 \(1,\)"),
        ({"labels_N": LABELS.float()}, r"labels must be integers, .* they are torch.float32 \(4,\)"),
        ({"loss_mask_N": torch.ones(ROWS)}, r"loss_mask must be bool, .* it is torch.float32 \(4,\)"),
        ({"loss_mask_N": torch.ones(3, dtype=torch.bool)}, r"loss_mask must be bool, .* it is torch.bool \(3,\)"),
        ({"num_columns": COLUMNS + 1}, "num_columns must be from 0 to the logits' 7; it is 8"),
        ({"num_columns": -1}, "num_columns must be from 0 to the logits' 7; it is -1"),
    ],
    ids=["logits", "labels", "label_type", "mask_type", "mask", "columns", "negative_columns"],
)
def test_cross_entropy_refuses(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^cross_entropy: {words}$"):
        cross_entropy(**({"logits_NV": _logits(), "labels_N": LABELS} | given))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scores_BAQK": torch.zeros(2, 3, 3)}, r"scores must be \[samples, .*; their shape is \(2, 3, 3\)"),
        ({"window": -1}, "window must be 0 or more; it is -1"),
        ({"first_key": -2}, "first_key must be 0 or more; it is -2"),
        ({"left_padding_B": torch.zeros(3)}, r"left_padding must be one for each of 2 samples; it is \(3,\)"),
    ],
    ids=["scores", "window", "first_key", "left_padding"],
)
def test_causal_softmax_refuses(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^causal_softmax: {words}$"):
        causal_softmax(**({"scores_BAQK": torch.zeros(2, 1, 3, 3), "scale": 1.0} | given))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    found = []
    for labels in (LABELS, LABELS.to(dtype)):
        logits = _logits().requires_grad_()
        losses = cross_entropy(logits, labels)
        losses.sum().backward()
        found.append((losses.detach(), logits.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", [REGISTERED, REFERENCE], ids=["registered", "reference"])
def test_the_heads_labels_may_be_int32(parts: CrossEntropy) -> None:
    def pieces(logits: Tensor, labels: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        assert labels.dtype == torch.int64, "all that the CUDA kernel takes"
        return parts.pieces(logits, labels, *rest)

    hidden, weight = torch.eye(ROWS), _logits().t().contiguous()
    how: dict[str, Any] = {"true_columns": COLUMNS, "tp_group": None, "parts": replace(parts, pieces=pieces)}
    losses = linear_cross_entropy(hidden, weight, LABELS.int(), **how)
    torch.testing.assert_close(losses, F.cross_entropy(_logits(), LABELS, reduction="none"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_label_out_of_range_and_logits_that_are_not_finite_give_nan_in_their_row_alone(dtype: torch.dtype) -> None:
    logits = _logits(dtype)
    logits[1, 2], logits[2, 3] = torch.nan, torch.inf
    assert cross_entropy(logits, LABELS).isnan().tolist() == [False, True, True, False]
    assert cross_entropy(_logits(dtype), torch.tensor([0, 7, -1, 6])).isnan().tolist() == [False, True, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_rows_that_do_not_count_may_hold_anything(dtype: torch.dtype) -> None:
    """A mask of zeros: no loss and no gradient, whatever logits and labels are."""
    logits = torch.full((ROWS, COLUMNS), torch.nan, dtype=dtype, requires_grad=True)
    losses = cross_entropy(logits, torch.full((ROWS,), -100), loss_mask_N=torch.zeros(ROWS, dtype=torch.bool))
    losses.sum().backward()
    assert not losses.any() and logits.grad is not None and not logits.grad.any()


@pytest.mark.parametrize("shape", [(), (0,), (2, 3, 0), (2, 0, 3), (1,)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_of_any_shape(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.full(shape, 0.7, dtype=dtype, requires_grad=True)
    found = bias_gelu(x)
    found.sum().backward()
    assert x.grad is not None and x.grad.shape == found.shape == shape
    torch.testing.assert_close(found, F.gelu(x, approximate="tanh"))
