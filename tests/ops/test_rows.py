"""csrc/cpu/rows against its twins: every instruction set of this processor, odd shapes, both dtypes, any threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from megatron_codex.native.library import instructions, library
from megatron_codex.ops import reference_rows as reference
from megatron_codex.ops import rows

TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 8e-3}
"""Relative to the largest value. fp32: exponentials within 2e-7, sums in another order; bf16: one rounding apart."""

SHAPES = [(1, 1), (3, 15), (5, 33), (40, 1003)]


@pytest.fixture(params=instructions())
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each instruction set in turn, on two threads."""
    monkeypatch.setattr(rows, "fastest", lambda: (library(), request.param))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    yield request.param


@pytest.fixture(params=TOLERANCES, ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def _normal(*shape: int, dtype: torch.dtype, seed: int = 0, scale: float = 4.0) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def _close(got: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert got.dtype == expected.dtype and got.shape == expected.shape
    largest = expected.float().abs().max().item()
    assert (got.float() - expected.float()).abs().max().item() <= TOLERANCES[dtype] * max(largest, 1e-3)


def test_the_library_is_there() -> None:
    assert "scalar" in instructions(), "csrc/cpu is built where the tests run"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_row_statistics(chosen: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    logits = _normal(*shape, dtype=dtype)
    for got, expected in zip(rows.row_statistics(logits), reference.row_statistics(logits), strict=True):
        assert torch.allclose(got, expected, rtol=3e-6)


def test_rows_may_be_part_of_wider_ones(chosen: str, dtype: torch.dtype) -> None:
    logits = _normal(6, 40, dtype=dtype)[:, :37]
    assert torch.allclose(rows.row_statistics(logits)[1], reference.row_statistics(logits)[1], rtol=3e-6)


def test_no_rows_and_no_columns(chosen: str, dtype: torch.dtype) -> None:
    assert [len(found) for found in rows.row_statistics(_normal(0, 7, dtype=dtype))] == [0, 0]
    largest, sums = rows.row_statistics(_normal(2, 8, dtype=dtype)[:, :0])
    assert largest.tolist() == [-torch.inf] * 2 and sums.tolist() == [0.0] * 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("block_size", [1, 32, 512])
def test_block_statistics(chosen: str, dtype: torch.dtype, shape: tuple[int, int], block_size: int) -> None:
    logits = _normal(*shape, dtype=dtype)
    given = {"block_size": block_size, "scale": 1.25}
    for got, expected in zip(
        rows.block_statistics(logits, **given), reference.block_statistics(logits, **given), strict=True
    ):
        assert got.shape == (shape[0], -(-shape[1] // block_size))
        assert torch.allclose(got, expected, rtol=3e-6)


def test_a_block_of_one_scale_is_the_row(chosen: str, dtype: torch.dtype) -> None:
    logits = _normal(4, 100, dtype=dtype)
    largest, sums, tempered = rows.block_statistics(logits, block_size=100, scale=1.0)
    assert torch.equal(sums, tempered) and torch.equal(largest[:, 0], logits.float().amax(1))
    assert torch.allclose(sums[:, 0], rows.row_statistics(logits)[1], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_gradient(chosen: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    num_rows, columns = shape
    logits = _normal(*shape, dtype=dtype)
    true_columns = columns - columns // 7
    labels = torch.arange(num_rows) * 5 % (columns + 4) - 2  # some of another rank's, some of padding
    largest, sums = reference.row_statistics(logits[:, :true_columns])
    given = {"true_columns": true_columns, "labels_N": labels, "log_sums_N": largest + sums.log()}
    given["gradients_N"] = _normal(num_rows, dtype=torch.float32, seed=1)
    got, expected = logits.clone(), logits.clone()
    rows.cross_entropy_gradient(got, **given)
    reference.cross_entropy_gradient(expected, **given)
    _close(got, expected, dtype)
    assert not got[:, true_columns:].any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy_at_once_is_its_passes_one_after_the_other(
    chosen: str, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    num_rows, columns = shape
    logits = _normal(num_rows, columns + 3, dtype=dtype)[:, :columns]  # rows of a wider matrix
    labels = torch.arange(num_rows) * 5 % (columns + 4) - 2
    given = {"true_columns": columns - columns // 7, "labels_N": labels}
    given["gradients_N"] = _normal(num_rows, dtype=torch.float32, seed=1)
    got, expected = logits.clone(), logits.clone()
    largest, sums = rows.cross_entropy(got, **given)
    expected_largest, expected_sums = reference.cross_entropy(expected, **given)
    _close(got, expected, dtype)
    assert not got[:, given["true_columns"] :].any()
    assert torch.equal(largest, expected_largest) and torch.equal(sums[1], expected_sums[1])
    assert torch.allclose(sums[0], expected_sums[0], rtol=3e-6)


def test_exponentials_of_one_and_of_very_little(chosen: str) -> None:
    """A row of equal logits has sum and gradient exactly; logits far below the largest count for nothing."""
    logits = torch.full((1, 64), 3.0)
    labels, ones = torch.tensor([-1]), torch.ones(1)
    assert rows.cross_entropy(logits, true_columns=64, labels_N=labels, gradients_N=ones)[1].tolist() == [[64.0], [0.0]]
    assert (logits == 1 / 64).all()
    logits[0, 1:], logits[0, 40:] = -torch.inf, -200.0
    assert rows.cross_entropy(logits, true_columns=64, labels_N=labels, gradients_N=ones)[1][0].tolist() == [1.0]
    assert logits[0, 0] == 1.0 and logits[0, 1:].max() < 2e-38 and logits.isfinite().all()


def test_a_shard_of_padding_only_gives_no_gradient(chosen: str, dtype: torch.dtype) -> None:
    """The last tensor-parallel rank's, of a small vocabulary: every label is another rank's."""
    logits = _normal(3, 8, dtype=dtype)
    given = {"labels_N": torch.tensor([-8, -3, -1]), "log_sums_N": torch.ones(3), "gradients_N": torch.ones(3)}
    rows.cross_entropy_gradient(logits, true_columns=0, **given)
    assert not logits.any()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gelu_and_its_gradient(chosen: str, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    x, gradient = _normal(*shape, dtype=dtype), _normal(*shape, dtype=dtype, seed=2)
    _close(rows.gelu(x), reference.gelu(x), dtype)
    _close(rows.gelu_gradient(x, gradient), reference.gelu_gradient(x, gradient), dtype)


def test_gelu_far_from_zero(chosen: str) -> None:
    x = torch.tensor([[-1e4, -300.0, -20.0, 0.0, 20.0, 300.0, 1e4] * 3])
    assert torch.allclose(rows.gelu(x), x.clamp(min=0), atol=1e-20)
    slope = rows.gelu_gradient(x, torch.ones_like(x))
    assert torch.allclose(slope, torch.tensor([[0.0, 0, 0, 0.5, 1, 1, 1] * 3]), atol=1e-20)


@pytest.mark.parametrize(("queries", "first_key"), [(1, 0), (7, 0), (20, 13)], ids=["one", "square", "later_block"])
def test_causal_softmax_and_its_gradient(chosen: str, dtype: torch.dtype, queries: int, first_key: int) -> None:
    scores = _normal(3 * queries, queries + first_key, dtype=dtype)
    how = {"num_queries": queries, "first_key": first_key, "scale": 0.3}
    got, expected = scores.clone(), scores.clone()
    rows.causal_softmax(got, **how)
    reference.causal_softmax(expected, **how)
    _close(got, expected, dtype)
    assert torch.allclose(got.float().sum(1), torch.ones(len(got)), atol=2e-2)
    gradient = _normal(*scores.shape, dtype=dtype, seed=3)
    got_gradient, expected_gradient = gradient.clone(), gradient.clone()
    rows.causal_softmax_gradient(expected, got_gradient, **how)
    reference.causal_softmax_gradient(expected, expected_gradient, **how)
    _close(got_gradient, expected_gradient, dtype)
    hidden = torch.arange(scores.shape[1])[None, :] > first_key + (torch.arange(len(scores)) % queries)[:, None]
    assert not got[hidden].any() and not got_gradient[hidden].any()


def test_threads_change_no_bit(chosen: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = _normal(200, 2000, dtype=dtype)  # enough for several threads
    on_two = rows.row_statistics(logits)
    for threads in (1, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # noqa: B023
        assert all(torch.equal(got, two) for got, two in zip(rows.row_statistics(logits), on_two, strict=True))


def test_threads_change_no_bit_of_what_is_made_at_once(
    chosen: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"true_columns": 1990, "labels_N": torch.arange(200) * 10, "gradients_N": torch.linspace(-1, 1, 200)}
    made = []
    for threads in (2, 1, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # noqa: B023
        logits = _normal(200, 2000, dtype=dtype)
        made.append((logits, *rows.cross_entropy(logits, **given)))
    assert all(torch.equal(got, two) for others in made[1:] for got, two in zip(others, made[0], strict=True))


def test_a_nan_stays_one(chosen: str, dtype: torch.dtype) -> None:
    logits = _normal(2, 50, dtype=dtype)
    logits[1, 20] = torch.nan
    assert torch.isnan(rows.row_statistics(logits)[1]).tolist() == [False, True]
    at_once = logits.clone()
    given = {"labels_N": torch.tensor([3, 20]), "gradients_N": torch.ones(2)}
    assert torch.isnan(rows.cross_entropy(at_once, true_columns=50, **given)[1][0]).tolist() == [False, True]
    assert torch.isnan(at_once).all(1).tolist() == [False, True]
    assert torch.isnan(rows.gelu(logits)).sum() == 1
    rows.causal_softmax(logits, num_queries=1, first_key=49, scale=1.0)
    assert torch.isnan(logits).any(1).tolist() == [False, True]


def test_without_the_library_the_twins_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "fastest", lambda: None)
    x = _normal(4, 9, dtype=torch.float32)
    assert torch.equal(rows.gelu(x), reference.gelu(x))
    assert torch.equal(rows.gelu_gradient(x, x), reference.gelu_gradient(x, x))
    got = x.clone()
    rows.causal_softmax(got, num_queries=4, first_key=5, scale=1.0)
    assert torch.allclose(got.sum(1), torch.ones(4))
    assert torch.equal(rows.row_statistics(x)[0], x.amax(1))
