"""Attention as matrix products against torch's own, values and gradients, at lengths that blocks do not divide."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from megatron_codex.ops import attention

SHAPE = {"samples": 2, "heads": 3, "channels": 8}


@pytest.mark.parametrize("positions", [1, 5, 256, 300])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 1.5e-2)], ids=["fp32", "bf16"]
)
def test_values_and_gradients_are_torchs(positions: int, dtype: torch.dtype, tolerance: float) -> None:
    """bf16 rounds scores, probabilities and outputs, each by up to 4e-3."""
    torch.manual_seed(positions)
    # As megatron-core lays them out: positions first, q, k and v of a head side by side.
    mixed = torch.randn(positions, SHAPE["samples"], SHAPE["heads"], 3 * SHAPE["channels"]).to(dtype).requires_grad_()
    exact = mixed.detach().float().requires_grad_()
    gradient = torch.randn(SHAPE["samples"], SHAPE["heads"], positions, SHAPE["channels"])
    got = attention.causal_attention(*(x.permute(1, 2, 0, 3) for x in mixed.chunk(3, dim=-1)))
    got.backward(gradient.to(dtype))
    query, key, value = (x.permute(1, 2, 0, 3) for x in exact.chunk(3, dim=-1))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    expected.backward(gradient)
    for found, wanted in ((got, expected), (mixed.grad, exact.grad)):
        assert found is not None and wanted is not None
        assert (found.float() - wanted).norm() <= tolerance * wanted.norm()


def test_it_is_for_short_bf16_rows_on_a_cpu() -> None:
    short = torch.zeros(1, 1, attention.MAX_POSITIONS, 8, dtype=torch.bfloat16)
    assert attention.is_faster_here(short)
    assert not attention.is_faster_here(short.float())
    assert not attention.is_faster_here(torch.zeros(1, 1, attention.MAX_POSITIONS + 1, 8, dtype=torch.bfloat16))
    assert not attention.is_faster_here(short.to("meta"))
