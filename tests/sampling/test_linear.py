"""Products with a weight laid out once: right, and of each row alone."""

from __future__ import annotations

import pytest
import torch

from megatron_codex.sampling.cache import ROW_MULTIPLE
from megatron_codex.sampling.linear import Linear, lays_out_weights

SHAPES = [(256, 50_257), (256, 768), (1024, 256), (128, 2_073), (96, 100), (5120, 512)]
DTYPES = [torch.float32, torch.bfloat16]
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 8e-3}
"""Of a result, relative to the sum of its terms' magnitudes; bf16 rounds the result to 8 bits."""


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def shape(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
def test_the_product_is_right(shape: tuple[int, int], dtype: torch.dtype, with_bias: bool) -> None:
    I, O = shape  # noqa: E741
    torch.manual_seed(0)
    rows_NI, weight_OI = torch.randn(5, I).to(dtype), torch.randn(O, I).to(dtype)
    bias_O = torch.randn(O).to(dtype) if with_bias else None
    expected_NO = rows_NI.double() @ weight_OI.double().t()
    terms_NO = rows_NI.double().abs() @ weight_OI.double().abs().t() + 1
    if bias_O is not None:
        expected_NO += bias_O.double()
    with torch.inference_mode():
        found_NO = Linear(weight_OI, bias_O)(rows_NI)
    assert found_NO.dtype == dtype
    assert ((found_NO.double() - expected_NO).abs() / terms_NO).max() < ROUNDING[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_does_not_depend_on_how_many_there_are(shape: tuple[int, int], dtype: torch.dtype) -> None:
    I, O = shape  # noqa: E741
    torch.manual_seed(0)
    rows_NI = torch.randn(13 * ROW_MULTIPLE, I).to(dtype)
    with torch.inference_mode():
        linear = Linear(torch.randn(O, I).to(dtype), torch.randn(O).to(dtype))
        whole_NO = linear(rows_NI)
        for number in (1, 2, 3, 7, 13):
            assert torch.equal(linear(rows_NI[: number * ROW_MULTIPLE]), whole_NO[: number * ROW_MULTIPLE])
            assert torch.equal(linear(rows_NI[-ROW_MULTIPLE:]), whole_NO[-ROW_MULTIPLE:])


def test_weights_are_laid_out_on_a_cpu_in_the_types_of_models() -> None:
    assert lays_out_weights(torch.ones(2, 2)) == torch.backends.mkldnn.is_available()
    assert not lays_out_weights(torch.ones(2, 2, dtype=torch.float64))
    assert not lays_out_weights(torch.ones(2, 2, device="meta"))


def test_the_weight_given_may_be_a_view() -> None:
    torch.manual_seed(0)
    rows_NI, weight_IO = torch.randn(4, 32), torch.randn(32, 48)
    with torch.inference_mode():
        assert torch.allclose(Linear(weight_IO.t())(rows_NI), rows_NI @ weight_IO, atol=1e-5)
