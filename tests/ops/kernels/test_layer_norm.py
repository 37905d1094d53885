"""csrc/kernels/layer_norm against torch: odd shapes, all dtypes, more rows than blocks, parts of several ranks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops import reference
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, library, run, size, status
from tests.ops.kernels.close import assert_close, normal

NAME = "layer_norm"
EPSILON = 1e-5


def _backward(x: Tensor, weight: Tensor, saved: list[Tensor], given: Tensor, into: Tensor, order: Order) -> Tensor:
    rows, hidden = x.shape
    partials = torch.empty(size(library(NAME), "layer_norm_num_partials", rows), 2, hidden)
    sums = torch.full((2, hidden), 7.0)
    sizes = (rows, hidden, DTYPES[x.dtype])
    call = Call("layer_norm_gradient", (x, weight, *saved, given, into, partials, sums, *sizes))
    run(library(NAME), call, order=order)
    return sums


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "hidden"), [(1, 1), (3, 37), (5, 2056)], ids=str)
def test_parity(rows: int, hidden: int, dtype: torch.dtype, order: Order) -> None:
    x, given = (normal(rows, hidden, dtype=dtype, seed=seed) for seed in (1, 2))
    x += 30.0  # a mean far from 0: a variance from sums of squares would be wrong
    weight, bias = normal(hidden, dtype=dtype, seed=3) + 1.0, normal(hidden, dtype=dtype, seed=4)
    y, x_gradients = torch.full_like(x, 7.0), torch.full_like(x, 7.0)
    saved = [torch.full((rows,), 7.0), torch.full((rows,), 7.0)]
    sizes = (rows, hidden, EPSILON, DTYPES[dtype])
    run(library(NAME), Call("layer_norm", (x, weight, bias, y, *saved, *sizes)), order=order)
    sums = _backward(x, weight, saved, given, x_gradients, order)

    wide, wide_weight, wide_bias = (t.double().requires_grad_() for t in (x, weight, bias))
    expected = F.layer_norm(wide, (hidden,), wide_weight, wide_bias, EPSILON)
    expected.backward(given.double())
    assert wide.grad is not None and wide_weight.grad is not None and wide_bias.grad is not None
    assert_close(y, expected.detach().to(dtype), factor=8.0 if dtype == torch.float32 else 1.0)  # 30 loses 5 bits
    assert_close(x_gradients, wide.grad.to(dtype), factor=32.0 if dtype == torch.float32 else 1.0)
    assert_close(sums, torch.stack((wide_weight.grad, wide_bias.grad)).float(), factor=32.0)
    twin = reference.layer_norm(x, weight, bias, epsilon=EPSILON)
    assert_close(twin[0], expected.detach().to(dtype), factor=8.0)
    assert_close(twin[1], saved[0])
    assert_close(twin[2], saved[1], factor=8.0)


def test_rows_of_two_ranks_sum_to_those_of_one_and_in_place() -> None:
    """With sequence parallelism each rank has some rows: the sums of weight and bias add up, unrounded."""
    x, given = (normal(300, 24, dtype=torch.float32, seed=seed) for seed in (5, 6))
    weight = normal(24, dtype=torch.float32, seed=7)
    saved = [x.mean(dim=1), (x.var(dim=1, correction=0) + EPSILON).rsqrt()]
    x_gradients = torch.empty_like(x)
    whole = _backward(x, weight, saved, given, x_gradients, ORDERS["forward"])
    expected, of_parameters = reference.layer_norm_gradient(x, weight, saved[0], saved[1], given)
    assert_close(x_gradients, expected, factor=2.0)
    assert_close(whole, of_parameters, factor=16.0)  # 300 terms
    parts = []
    for rows in (slice(0, 130), slice(130, 300)):
        mine, gradients = [t[rows].contiguous() for t in saved], given[rows].clone()
        parts.append(_backward(x[rows].contiguous(), weight, mine, gradients, gradients, ORDERS["random_3_workers"]))
        assert torch.equal(gradients, x_gradients[rows]), "in place, and whatever the rows beside"
    assert_close(parts[0] + parts[1], whole, factor=16.0)
    assert not _backward(x[:0], weight, [t[:0] for t in saved], given[:0], x[:0], ORDERS["forward"]).any()


def test_more_rows_than_blocks() -> None:
    x = normal(1030, 3, dtype=torch.float32, seed=8)
    y, means, inverse = torch.empty_like(x), torch.empty(1030), torch.empty(1030)
    weight, bias = torch.ones(3), torch.zeros(3)
    run(library(NAME), Call("layer_norm", (x, weight, bias, y, means, inverse, 1030, 3, EPSILON, 0)))
    assert_close(y, F.layer_norm(x, (3,), weight, bias, EPSILON), factor=8.0)


def test_the_largest_hidden_size_and_bad_calls() -> None:
    x, saved = torch.randn(1, 20480, generator=torch.Generator().manual_seed(1)), [torch.zeros(1), torch.ones(1)]
    given = x.clone()
    sums = _backward(x, torch.ones(20480), saved, given, given, ORDERS["forward"])
    assert_close(sums[0], x[0] ** 2)
    good = [x, x, x, x, *saved, 1, 20480, EPSILON, 0]

    def answer(position: int, value: object) -> int:
        return status(library(NAME), Call("layer_norm", [*good[:position], value, *good[position + 1 :]]))  # type: ignore[list-item]

    assert answer(7, 20481) == 2 and answer(7, 0) == 2 and answer(6, -1) == 2
    assert answer(2, None) == 3 and answer(9, 5) == 1 and answer(6, 0) == 0
