"""The CUDA kernels on a GPU: against the reference, their gradients, their repeatability. Pending: run by
tests/gpu/run.sh."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax
from megatron_codex.ops.cuda_library import why_missing
from tests.ops.examples import DIFFERENTIABLE, EXAMPLES, TOLERANCES, Drawn, assert_close, tensors_of

REGISTERING = (bias_gelu, cross_entropy, flat_adam, layer_norm, shared_prefix, softmax)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: no kernel was run on a GPU"),
    pytest.mark.skipif(
        torch.cuda.is_available() and why_missing() is not None, reason="needs the CUDA library: MCX_BUILD_CUDA=1"
    ),
]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_kernel_is_its_reference(name: str, dtype: torch.dtype) -> None:
    """The reference on the CPU, in the same dtype."""
    got, expected = (EXAMPLES[name](Drawn(dtype, device, differentiable=False)) for device in ("cuda", "cpu"))
    operation = getattr(torch.ops.megatron_codex, name)
    for mine, wanted in zip(tensors_of(operation(*got), got), tensors_of(operation(*expected), expected), strict=True):
        assert_close(mine.cpu(), wanted, TOLERANCES[dtype])


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_the_reference_in_fp64(name: str) -> None:
    """The kernels have no fp64, so no finite differences: tests/ops/test_registered.py takes those of the reference."""
    mine, exact = (EXAMPLES[name](Drawn(torch.float32, device)) for device in ("cuda", "cpu"))
    exact = tuple(_as_double(value) for value in exact)
    for got, wanted in zip(_gradients(name, mine), _gradients(name, exact), strict=True):
        assert_close(got.cpu().double(), wanted, 1e-5)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_kernel_repeats_bit_for_bit(name: str) -> None:
    runs = []
    for _ in range(2):
        arguments = EXAMPLES[name](Drawn(torch.bfloat16, "cuda", differentiable=False))
        runs.append(tensors_of(getattr(torch.ops.megatron_codex, name)(*arguments), arguments))
    assert all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(*runs, strict=True))


def test_cross_entropy_of_the_12b_models_shape() -> None:
    """One rank of eight: 2,048 rows of 6,400 columns, 6,286 of them true; some rows do not count."""
    logits = torch.randn(2048, 6400, device="cuda").bfloat16().requires_grad_()
    labels = torch.randint(0, 6286, (2048,), device="cuda")
    mask = torch.rand(2048, device="cuda") > 0.3
    losses = cross_entropy.cross_entropy(logits, labels, loss_mask_N=mask, num_columns=6286)
    losses.sum().backward()
    exact = logits.detach().double().requires_grad_()
    wanted = torch.nn.functional.cross_entropy(exact[:, :6286], labels, reduction="none") * mask
    wanted.sum().backward()
    assert logits.grad is not None and exact.grad is not None
    assert_close(losses.detach().double(), wanted.detach(), 1e-5)
    assert_close(logits.grad.double(), exact.grad, 2e-2)


def _as_double(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.detach().double().requires_grad_(value.requires_grad)


def _gradients(name: str, arguments: tuple[Any, ...]) -> tuple[Tensor, ...]:
    found = getattr(torch.ops.megatron_codex, name)(*arguments)
    first = found if isinstance(found, Tensor) else found[0]
    given = torch.arange(first.numel(), dtype=torch.float64).mul(1.7).cos().view_as(first).to(first)
    return torch.autograd.grad(first, [x for x in arguments if isinstance(x, Tensor) and x.requires_grad], given)
