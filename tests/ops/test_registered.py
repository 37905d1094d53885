"""The operations as torch's: schemas, fake kernels and gradients hold, and compilers take them whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from megatron_codex.ops import (  # noqa: F401
    bias_gelu,
    cross_entropy,
    flat_adam,
    layer_norm,
    shared_prefix,
    softmax,
)
from megatron_codex.ops.registered import SCHEMAS
from tests.ops.examples import DIFFERENTIABLE, EXAMPLES, Drawn

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


def _operation(name: str) -> Any:
    return getattr(torch.ops.megatron_codex, name).default


def test_every_operation_has_an_example() -> None:
    assert set(EXAMPLES) == set(SCHEMAS)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    """Writes only what the schema marks; fake outputs have the real ones' shapes, dtypes and strides; gradients are
    registered where they are taken."""
    torch.library.opcheck(_operation(name), EXAMPLES[name](Drawn(dtype, "cpu")))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """In fp64, which kernels do not have: the reference's forward and backward. The kernels' are compared with
    these."""

    def first_output(*arguments: Any) -> Tensor:
        found = _operation(name)(*arguments)
        return found if isinstance(found, Tensor) else found[0]

    assert torch.autograd.gradcheck(first_output, EXAMPLES[name](Drawn(torch.float64, "cpu")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_the_cpus_program_is_the_reference_but_for_rounding(name: str, dtype: torch.dtype) -> None:
    """Where there is C++ it rounds once, as the fp64 reference rounded to the dtype does; bf16 has 8 bits."""
    tolerance = {torch.float32: 2e-6, torch.bfloat16: 1.6e-2}[dtype]
    arguments = EXAMPLES[name](Drawn(dtype, "cpu"))
    # What C++ takes: no padding, no band, no bias.
    arguments = {
        "causal_softmax": (arguments[0], None, 2, 0, 0.3),
        "bias_gelu": (arguments[0], None),
        "cross_entropy": (*arguments[:2], None, 7),
    }.get(name, arguments)
    exact = [_as_double(x) for x in arguments]
    for got, wanted in zip(_with_gradients(name, arguments), _with_gradients(name, exact), strict=True):
        assert (got.double() - wanted).abs().max() <= tolerance * wanted.abs().max()


def _as_double(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.detach().double().requires_grad_(value.requires_grad)


def _with_gradients(name: str, arguments: Any) -> list[Tensor]:
    found = _operation(name)(*arguments)
    first = found if isinstance(found, Tensor) else found[0]
    given = torch.arange(first.numel(), dtype=torch.float64).mul(1.7).cos().view_as(first)
    leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    return [first.detach(), *torch.autograd.grad(first, leaves, given.to(first.dtype))]


@pytest.mark.parametrize("name", EXAMPLES)
def test_compilers_take_it_whole(name: str) -> None:
    """fullgraph: a graph break raises. aot_eager: traced forwards and backwards, run without a C++ compiler."""
    arguments, twins = (EXAMPLES[name](Drawn(torch.float32, "cpu")) for _ in range(2))
    torch.compiler.reset()  # what it compiled for the operations before counts against its limit
    compiled: Callable[..., Any] = torch.compile(_after_a_product(name), fullgraph=True, backend="aot_eager")
    got, expected = compiled(*arguments), _after_a_product(name)(*twins)
    for mine, eager in zip(_flat(got, arguments), _flat(expected, twins), strict=True):
        assert torch.equal(mine, eager)


def _after_a_product(name: str) -> Callable[..., Any]:
    def called(first: Tensor, *rest: Any) -> Any:
        return _operation(name)(first * 1 if name in DIFFERENTIABLE else first, *rest)

    return called


def _flat(found: Any, arguments: Any) -> list[Tensor]:
    """Outputs, what was written in place, and gradients."""
    outputs = [found] if isinstance(found, Tensor) else list(found or ())
    tensors = [x for x in arguments if isinstance(x, Tensor)]
    leaves = [x for x in tensors if x.requires_grad]
    gradients = torch.autograd.grad(outputs[0].sum(), leaves) if leaves else ()
    return [*(x.detach() for x in (*outputs, *tensors)), *gradients]
