"""csrc/kernels/merge_attn_states: two parts of an attention are the attention, also where a part has no keys."""

from __future__ import annotations

import pytest
import torch

from megatron_codex.ops import reference
from tests.ops.kernels.calls import DTYPES, ORDERS, Call, Order, library, run, status
from tests.ops.kernels.close import assert_close, normal

NAME = "merge_attn_states"


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("rows", "head_size"), [(1, 1), (7, 80), (11, 128), (3, 131), (9, 64)], ids=str)
def test_parity(rows: int, head_size: int, dtype: torch.dtype, order: Order) -> None:
    first, second = (normal(rows, head_size, dtype=dtype, seed=seed) for seed in (1, 2))
    first_lse, second_lse = (normal(rows, dtype=torch.float32, seed=seed, scale=8.0) for seed in (3, 4))
    first_lse[0] = -torch.inf
    first[0] = torch.nan  # of a part without keys nothing is read
    second_lse[-1] = -torch.inf
    second[-1] = torch.nan
    merged, lse = torch.full_like(first, 7.0), torch.full_like(first_lse, 7.0)
    sizes = (rows, head_size, DTYPES[dtype])
    run(library(NAME), Call(NAME, (first, first_lse, second, second_lse, merged, lse, *sizes)), order=order)
    expected, expected_lse = reference.merge_attn_states(first, first_lse, second, second_lse)
    assert_close(merged, expected)
    assert_close(lse, expected_lse)


def test_in_place_and_without_the_log_sum_exp() -> None:
    first, second = normal(9, 128, dtype=torch.float32, seed=1), normal(9, 128, dtype=torch.float32, seed=2)
    first_lse, second_lse = normal(9, dtype=torch.float32, seed=3), normal(9, dtype=torch.float32, seed=4)
    expected, expected_lse = reference.merge_attn_states(first, first_lse, second, second_lse)
    out = torch.empty_like(first)
    run(library(NAME), Call(NAME, (first, first_lse, second, second_lse, out, None, 9, 128, 0)))
    assert_close(out, expected)
    run(library(NAME), Call(NAME, (first, first_lse, second, second_lse, second, second_lse, 9, 128, 0)))
    assert_close(second, expected)
    assert_close(second_lse, expected_lse)


def test_parts_of_an_attention_are_the_attention() -> None:
    query, keys, values = (normal(*shape, dtype=torch.float32, seed=5) for shape in ((6, 64), (30, 64), (30, 64)))
    scores = query @ keys.T
    whole, lse = scores.softmax(dim=1) @ values, scores.logsumexp(dim=1)
    pieces = zip(scores.split([20, 10], dim=1), values.split([20, 10]), strict=True)
    parts = [(piece.softmax(dim=1) @ of_piece, piece.logsumexp(dim=1)) for piece, of_piece in pieces]
    merged, merged_lse = torch.empty(6, 64), torch.empty(6)
    run(library(NAME), Call(NAME, (*parts[0], *parts[1], merged, merged_lse, 6, 64, 0)))
    assert_close(merged, whole)
    assert_close(merged_lse, lse)


def test_nan_is_not_lost_and_bad_calls_are_answered() -> None:
    x, lse, nan = torch.ones(1, 8), torch.zeros(1), torch.full((1,), torch.nan)
    out, out_lse = torch.zeros(1, 8), torch.zeros(1)
    run(library(NAME), Call(NAME, (x, nan, x, lse, out, out_lse, 1, 8, 0)))
    assert out.isnan().all() and out_lse.isnan().all()
    assert status(library(NAME), Call(NAME, (x, lse, x, lse, out, None, 1, 1025, 0))) == 2
    assert status(library(NAME), Call(NAME, (x, None, x, lse, out, None, 1, 8, 0))) == 3
    assert status(library(NAME), Call(NAME, (x, lse, x, lse, out, None, 1, 8, -1))) == 1
