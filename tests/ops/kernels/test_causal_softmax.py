"""csrc/kernels/causal_softmax against torch: bands, left padding, caches, rows that see nothing, in place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import reference
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, library, run, status
from tests.ops.kernels.close import assert_close, normal

NAME = "causal_softmax"
SHAPES = {
    "one_key": (1, 1, 1, 1, 0),
    "square": (2, 3, 17, 17, 0),
    "vectors": (2, 1, 40, 40, 0),
    "after_a_cache": (2, 2, 5, 300, 295),
    "keys_beyond": (1, 1, 6, 520, 500),
    "queries_before_any_key": (1, 2, 9, 8, -4),
}
"""Samples, heads, queries, keys, first key."""


def _run(shape: tuple[int, ...], dtype: torch.dtype, window: int, order: Order, *, in_place: bool) -> None:
    *sizes, first_key = shape
    samples, _, _, num_keys = sizes
    padding = torch.tensor([0, num_keys // 3][:samples], dtype=torch.int32) if samples > 1 else None
    scores = normal(*sizes, dtype=dtype, seed=1, scale=4.0)
    gradients = normal(*sizes, dtype=dtype, seed=2)
    expected = reference.banded_softmax(scores, padding, first_key=first_key, window=window, scale=0.5)
    seen = reference.banded_softmax(torch.zeros(sizes), padding, first_key=first_key, window=window, scale=1.0) > 0
    expected_gradients = reference.banded_softmax_gradient(
        expected, gradients, padding, first_key=first_key, window=window, scale=0.5
    )
    aligned = (num_keys * scores.element_size()) % 16 == 0 and num_keys > 64
    if not aligned:  # whole vectors are read, and of those that touch nothing seen none
        scores[~seen] = torch.nan
        gradients[~seen] = torch.nan
    tail = (*sizes, first_key, window, 0.5, DTYPES[dtype])
    probabilities = scores if in_place else torch.full_like(scores, 7.0)
    found = gradients if in_place else torch.full_like(scores, 7.0)
    run(
        library(NAME),
        Call("causal_softmax", (scores, probabilities, padding, *tail)),
        Call("causal_softmax_gradient", (probabilities, gradients, found, padding, *tail)),
        order=order,
    )
    assert_close(probabilities, expected)
    assert not probabilities[~seen].any() and not found[~seen].any()
    assert_close(found, expected_gradients, factor=2.0)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("window", [0, 1, 7])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_parity(shape: tuple[int, ...], window: int, order: Order) -> None:
    _run(shape, torch.float32, window, order, in_place=False)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_in_place_in_every_dtype(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _run(shape, dtype, 5, ORDERS["random_3_workers"], in_place=True)


@pytest.mark.parametrize("value", [-torch.inf, torch.inf, torch.nan], ids=str)
def test_scores_that_are_no_numbers_are_as_in_torch(value: float) -> None:
    scores = normal(1, 1, 8, 8, dtype=torch.float32, seed=5)
    scores[0, 0, 3, :4] = value
    probabilities = torch.empty_like(scores)
    run(library(NAME), Call("causal_softmax", (scores, probabilities, None, 1, 1, 8, 8, 0, 0, 1.0, 0)))
    expected = reference.banded_softmax(scores, None, first_key=0, window=0, scale=1.0)
    assert expected[0, 0, 3, :4].isnan().all() and not expected[0, 0, 3, 4:].any()
    assert_close(probabilities, expected)


def test_the_gradient_is_that_of_autograd() -> None:
    scores = normal(1, 2, 9, 9, dtype=torch.float32, seed=3).requires_grad_()
    gradients = normal(1, 2, 9, 9, dtype=torch.float32, seed=4)
    shares = reference.banded_softmax(scores, None, first_key=0, window=4, scale=0.7)
    shares.backward(gradients)
    found = torch.empty(1, 2, 9, 9)
    tail = (1, 2, 9, 9, 0, 4, 0.7, 0)
    run(library(NAME), Call("causal_softmax_gradient", (shares.detach(), gradients, found, None, *tail)))
    assert scores.grad is not None
    assert_close(found, scores.grad)


def test_bad_calls_are_answered() -> None:
    x = torch.zeros(4)

    def answer(*arguments: Tensor | int | float | None) -> int:
        return status(library(NAME), Call("causal_softmax", arguments))

    assert answer(x, x, None, 1, 1, 2, 2, 0, 0, 1.0, 0) == 0
    assert answer(x, x, None, 1, 1, 2, 2, 0, -1, 1.0, 0) == 2
    assert answer(x, x, None, 2**20, 2**10, 2, 2, 0, 0, 1.0, 0) == 2
    assert answer(x, None, None, 1, 1, 2, 2, 0, 0, 1.0, 0) == 3
    assert answer(x, x, None, 1, 1, 2, 2, 0, 0, 1.0, 9) == 1
