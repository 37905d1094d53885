"""csrc/kernels/decode_suffix against torch: lengths of none to several tiles, strides, windows, head sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import reference
from megatron_codex.ops.programs import HEAD_SIZES
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, library, run, status
from tests.ops.kernels.close import assert_close, normal

NAME = "decode_suffix"
LENGTHS = [0, 1, 33, 150, 128]


def _inputs(dtype: torch.dtype, head_size: int, *, padded: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values of 5 samples, 2 heads, up to 150 positions; what lies beyond a length is NaN."""
    lengths = torch.tensor(LENGTHS, dtype=torch.int32)
    queries = normal(5, 2, head_size, dtype=dtype, seed=1, scale=2.0)
    keys, values = (normal(5, 150, 2, head_size + padded, dtype=dtype, seed=seed) for seed in (2, 3))
    for sample, length in enumerate(LENGTHS):
        keys[sample, length:] = values[sample, length:] = torch.nan
    return queries, keys, values, lengths


def _call(queries: Tensor, keys: Tensor, values: Tensor, lengths: Tensor, window: int) -> tuple[Call, Tensor, Tensor]:
    attended, lse = torch.full_like(queries, 7.0), torch.full(queries.shape[:2], 7.0)
    sizes = (*queries.shape, keys.stride(0), keys.stride(1), keys.stride(2), window, 0.125, DTYPES[queries.dtype])
    return Call(NAME, (queries, keys, values, lengths, attended, lse, *sizes)), attended, lse


def _check(inputs: tuple[Tensor, Tensor, Tensor, Tensor], window: int, order: Order) -> None:
    call, attended, lse = _call(*inputs, window)
    run(library(NAME), call, order=order)
    expected, expected_lse = reference.decode_suffix(*inputs, window=window, scale=0.125)
    assert_close(attended, expected)
    assert_close(lse, expected_lse)
    assert not attended[0].any() and (lse[0] == -torch.inf).all(), "a sample without positions"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head_size", HEAD_SIZES)
def test_parity(dtype: torch.dtype, head_size: int) -> None:
    _check(_inputs(dtype, head_size), 0, ORDERS["forward"])


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("window", [1, 40, 1000])
def test_window(window: int, order: Order) -> None:
    _check(_inputs(torch.bfloat16, 80), window, order)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_heads_that_lie_apart_and_unaligned(dtype: torch.dtype) -> None:
    queries, keys, values, lengths = _inputs(dtype, 64, padded=3)
    _check((queries, keys[..., 1:65], values[..., 1:65], lengths), 0, ORDERS["random"])
    heads_first = [x[..., :64].transpose(1, 2).contiguous().transpose(1, 2) for x in (keys, values)]
    _check((queries, *heads_first, lengths), 0, ORDERS["reverse"])  # type: ignore[arg-type]


def test_scores_may_lie_farther_apart_than_exponentials_reach() -> None:
    """From -1000 to 1000 in each tile: whatever but the largest is subtracted overflows, or leaves nothing."""
    queries, keys, values, lengths = _inputs(torch.float32, 64)
    queries[..., 0], keys[..., 0] = 8000.0, torch.linspace(-1.0, 1.0, 150)[:, None].roll(7, 0)
    _check((queries, keys, values, lengths), 0, ORDERS["forward"])


@pytest.mark.parametrize("value", [-torch.inf, torch.inf, torch.nan], ids=str)
def test_scores_that_are_no_numbers_are_as_in_torch(value: float) -> None:
    queries, keys, values, lengths = _inputs(torch.float32, 64)
    keys[1, 0, :, 0] = value  # sample 1 has one position
    queries[1, :, 0] = 1.0
    call, attended, lse = _call(queries, keys, values, lengths, 0)
    run(library(NAME), call)
    expected, expected_lse = reference.decode_suffix(queries, keys, values, lengths, window=0, scale=0.125)
    assert expected[1].isnan().all()
    assert_close(attended, expected)
    assert_close(lse[2:], expected_lse[2:])


def test_bad_calls_are_answered() -> None:
    inputs = _inputs(torch.float32, 64)
    good = list(_call(*inputs, 0)[0].arguments)

    def answer(position: int, value: object) -> int:
        return status(library(NAME), Call(NAME, [*good[:position], value, *good[position + 1 :]]))  # type: ignore[list-item]

    assert answer(8, 48) == 2 and answer(6, -1) == 2 and answer(12, -1) == 2
    assert answer(3, None) == 3 and answer(14, 3) == 1 and answer(6, 0) == 0
