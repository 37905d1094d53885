"""csrc/kernels/bias_gelu against torch: odd shapes, all dtypes, values at the ends of the range."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from megatron_codex.ops import reference
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, library, run, size, status
from tests.ops.kernels.close import assert_close, normal

NAME = "bias_gelu"


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "features"), [(1, 1), (9, 37), (21, 640), (0, 5)], ids=str)
def test_parity(rows: int, features: int, dtype: torch.dtype, order: Order) -> None:
    x, given = (normal(rows, features, dtype=dtype, seed=seed, scale=2.0) for seed in (1, 2))
    bias = normal(features, dtype=dtype, seed=3)
    y, x_gradients = torch.full_like(x, 7.0), torch.full_like(x, 7.0)
    partials = torch.empty(size(library(NAME), "bias_gelu_num_partials", rows), features)
    bias_gradient = torch.full((features,), 7.0)
    sizes = (rows, features, DTYPES[dtype])
    run(
        library(NAME),
        Call("bias_gelu", (x, bias, y, *sizes)),
        Call("bias_gelu_gradient", (x, bias, given, x_gradients, partials, bias_gradient, *sizes)),
        order=order,
    )
    wide = (x.float() + bias.float()).requires_grad_()
    expected = F.gelu(wide, approximate="tanh")
    expected.backward(given.float())
    assert wide.grad is not None
    if rows:
        assert_close(y, expected.detach().to(dtype))
        assert_close(x_gradients, wide.grad.to(dtype))
    assert_close(bias_gradient, wide.grad.sum(dim=0), factor=4.0)  # sums of 21 rows
    assert_close(reference.bias_gelu_gradient(x, bias, given)[1], bias_gradient, factor=4.0)


def test_more_rows_than_partial_sums_and_in_place() -> None:
    x, given, bias = torch.ones(1100, 3), torch.ones(1100, 3), torch.zeros(3)
    partials, bias_gradient = torch.empty(128, 3), torch.empty(3)
    assert size(library(NAME), "bias_gelu_num_partials", 1100) == 128
    call = Call("bias_gelu_gradient", (x, bias, given, given, partials, bias_gradient, 1100, 3, 0))
    run(library(NAME), call, Call("bias_gelu", (x, bias, x, 1100, 3, 0)))
    expected, of_bias = reference.bias_gelu_gradient(torch.ones(1100, 3), bias, torch.ones(1100, 3))
    assert_close(given, expected)
    assert_close(bias_gradient, of_bias, factor=20.0)  # 1,100 terms of one sign
    assert_close(x, reference.bias_gelu(torch.ones(1100, 3), bias))


def test_ends_of_the_range() -> None:
    x = torch.tensor([[1e30, -1e30, 3e4, -3e4, torch.nan, torch.inf, 0.0, -0.0]])
    y, gradients, bias = torch.empty_like(x), torch.empty_like(x), torch.zeros(8)
    partials, bias_gradient = torch.empty(1, 8), torch.empty(8)
    run(
        library(NAME),
        Call("bias_gelu", (x, bias, y, 1, 8, 0)),
        Call("bias_gelu_gradient", (x, bias, torch.ones(1, 8), gradients, partials, bias_gradient, 1, 8, 0)),
    )
    assert torch.equal(y[0, [0, 2, 5]], x[0, [0, 2, 5]]) and not y[0, [1, 3, 6, 7]].any() and y[0, 4].isnan()
    assert gradients[0, [0, 1, 2, 3, 5, 6]].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0, 0.5] and gradients[0, 4].isnan()


def test_bad_calls_are_answered() -> None:
    x = torch.zeros(2, 2)
    assert status(library(NAME), Call("bias_gelu", (x, x, x, -1, 2, 0))) == 2
    assert status(library(NAME), Call("bias_gelu", (x, None, x, 2, 2, 0))) == 3
    assert status(library(NAME), Call("bias_gelu", (x, x, x, 2, 2, 3))) == 1
