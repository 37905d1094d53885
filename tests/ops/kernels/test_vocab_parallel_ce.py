"""csrc/kernels/vocab_parallel_ce against torch: odd shapes, all dtypes, several ranks, any order of threads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops import reference
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, library, run, status

TOLERANCES = {torch.float32: 3e-6, torch.bfloat16: 4e-3, torch.float16: 1e-3}
"""Of gradients of at most 1: fp32 sums in another order; 16 bits: half a unit in the last place of 1, and the same."""

NAME = "vocab_parallel_ce"
SHAPES = [(1, 1, 1), (3, 37, 40), (5, 256, 256), (4, 1000, 1003), (2, 2049, 2056)]
"""Rows, true columns, columns with padding: vectors that fit, that end in padding, and none."""


def _inputs(rows: int, columns: int, padded: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows * columns)
    logits = (torch.randn(rows, padded, generator=generator) * 4.0).to(dtype)
    logits[:, columns:] = torch.inf  # padding that is read shows
    mask = torch.rand(rows, generator=generator) < 0.7
    mask[0] = True
    logits[~mask] = torch.nan  # ignored rows that are read show
    return logits, torch.randint(columns, (rows,), generator=generator), mask


def _pieces(
    logits: Tensor, labels: Tensor, mask: Tensor | None, columns: int, first: int, order: Order
) -> list[Tensor]:
    rows, padded = logits.shape
    found = [torch.full((rows,), 7.0), torch.full((2, rows), 7.0)]
    sizes = (rows, columns, padded, first, DTYPES[logits.dtype])
    run(library(NAME), Call("ce_pieces", (logits, labels, mask, *found, *sizes)), order=order)
    return found


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_rank(shape: tuple[int, int, int], dtype: torch.dtype, order: Order) -> None:
    rows, columns, padded = shape
    logits, labels, mask = _inputs(*shape, dtype)
    plain = logits[:, :columns].float().requires_grad_()
    expected = F.cross_entropy(plain, labels, reduction="none")
    weights = torch.linspace(-1.0, 1.0, rows)
    (expected[mask] * weights[mask]).sum().backward()

    largest, sums = _pieces(logits, labels, mask, columns, 0, order)
    losses, log_ps, log_sums = (torch.full((rows,), 7.0) for _ in range(3))
    loss_call = Call("ce_loss", (largest, sums, labels, mask, losses, log_ps, log_sums, rows, columns))
    gradients = logits.clone()
    sizes = (rows, columns, padded, 0, 0, DTYPES[dtype])
    gradient_call = Call("ce_gradient", (gradients, labels, mask, log_sums, weights, *sizes))
    run(library(NAME), loss_call, gradient_call, order=order)

    assert torch.allclose(losses[mask], expected[mask].detach(), rtol=2e-6, atol=3e-6)  # fp32 sums in another order
    assert torch.equal(log_ps, -losses) and not losses[~mask].any() and not log_sums[~mask].any()
    assert plain.grad is not None
    assert (gradients[mask, :columns].float() - plain.grad[mask]).abs().max() <= TOLERANCES[dtype]
    assert not gradients[mask, columns:].any(), "padding has no gradient"
    assert torch.equal(gradients[~mask].view(torch.uint8), logits[~mask].view(torch.uint8)), (
        "ignored rows are untouched"
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("masked", [True, False])
def test_ranks_join_their_pieces_as_the_reference_does(dtype: torch.dtype, masked: bool) -> None:
    """Three ranks of 40 columns, of which the vocabulary fills 90: the last rank has 10, and padding. Labels are their
    first and last columns."""
    logits, _, chosen = _inputs(6, 90, 120, dtype)
    labels = torch.tensor([40, 39, 79, 80, 89, 0])
    mask = chosen if masked else None
    if not masked:
        logits[:, :90] = logits[:, :90].nan_to_num(0.0)
    shards, ranks = [part.contiguous() for part in logits.split(40, dim=1)], [(0, 40), (40, 40), (80, 10)]
    largest: list[Tensor] = []
    sums: list[Tensor] = []
    for shard, (first, columns) in zip(shards, ranks, strict=True):
        got = _pieces(shard, labels, mask, columns, first, ORDERS["reverse"])
        expected = reference.ce_pieces(shard, labels, mask, true_columns=columns, first_column=first)
        for one, other in zip(got, expected, strict=True):
            assert torch.allclose(one, other, rtol=3e-6)
        largest.append(got[0])
        sums.append(got[1])
    of_all = torch.stack(largest).amax(dim=0)
    for local, of_rank in zip(largest, sums, strict=True):
        expected_sums = of_rank.clone()
        reference.ce_rescale(expected_sums, local_largest_N=local, largest_N=of_all)
        run(library(NAME), Call("ce_rescale", (of_rank, local, of_all, 6)))
        assert torch.allclose(of_rank, expected_sums, rtol=3e-6)
    joined = torch.stack(sums).sum(dim=0)
    losses, log_sums = torch.empty(6), torch.empty(6)
    run(library(NAME), Call("ce_loss", (of_all, joined, labels, mask, losses, None, log_sums, 6, 90)))
    counted = chosen if masked else torch.ones(6, dtype=torch.bool)
    whole = F.cross_entropy(logits[counted, :90].float(), labels[counted], reduction="none")
    assert torch.allclose(losses[counted], whole, rtol=2e-6, atol=3e-6)
    for shard, (first, columns) in zip(shards, ranks, strict=True):
        expected_gradient = shard.clone()
        reference.ce_gradient(
            expected_gradient,
            labels,
            mask,
            log_sums_N=log_sums,
            loss_gradients_N=losses,
            true_columns=columns,
            first_column=first,
            zero_ignored=True,
        )
        sizes = (6, columns, 40, first, 1, DTYPES[dtype])
        run(library(NAME), Call("ce_gradient", (shard, labels, mask, log_sums, losses, *sizes)))
        assert (shard.float() - expected_gradient.float()).abs().max() <= 8 * TOLERANCES[dtype]  # losses of up to 8


def test_a_rank_of_padding_alone_and_no_rows() -> None:
    logits, labels = torch.full((2, 8), 3.0), torch.tensor([0, 1])
    largest, sums = _pieces(logits, labels, None, 0, 64, ORDERS["forward"])
    assert (largest == -torch.inf).all() and not sums.any()
    run(library(NAME), Call("ce_gradient", (logits, labels, None, largest, largest, 2, 0, 8, 64, 0, 0)))
    assert not logits.any()
    assert len(_pieces(logits[:0], labels[:0], None, 8, 0, ORDERS["forward"])[0]) == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize("columns", [1, 40])
def test_logits_that_are_no_numbers_give_no_plausible_loss(value: float, columns: int) -> None:
    logits = torch.full((1, columns), -torch.inf)
    logits[0, columns // 2] = value
    largest, sums = _pieces(logits, torch.tensor([0]), None, columns, 0, ORDERS["forward"])
    losses, log_sums = torch.zeros(1), torch.zeros(1)
    call = Call("ce_loss", (largest, sums, torch.tensor([0]), None, losses, None, log_sums, 1, columns))
    run(library(NAME), call)
    assert losses.isnan().all()


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_outside_the_vocabulary_gives_nan(label: int) -> None:
    largest, sums, losses, log_sums = torch.zeros(1), torch.ones(2, 1), torch.zeros(1), torch.zeros(1)
    run(library(NAME), Call("ce_loss", (largest, sums, torch.tensor([label]), None, losses, None, log_sums, 1, 5)))
    assert losses.isnan().all()


def test_what_cannot_be_is_answered_by_a_status() -> None:
    logits, labels, out = torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 2)

    def answer(*arguments: object) -> int:
        return status(library(NAME), Call("ce_pieces", arguments))  # type: ignore[arg-type]

    assert answer(logits, labels, None, out, out, 2, 8, 8, 0, 3) == 1
    assert answer(logits, labels, None, out, out, 2, 9, 8, 0, 0) == 2
    assert answer(logits, labels, None, out, out, -1, 8, 8, 0, 0) == 2
    assert answer(logits, labels, None, out, out, 2**31, 8, 8, 0, 0) == 2
    assert answer(None, labels, None, out, out, 2, 8, 8, 0, 0) == 3
    assert answer(logits.view(torch.uint8)[0, 1:], labels, None, out, out, 1, 8, 8, 0, 0) == 3
