"""Every registered operation without a row, with one, and on tensors with gaps: schemas, fake kernels, numbers."""

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
from tests.ops.examples import EXAMPLES, Arguments, Drawn, assert_close, tensors_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
"""Those that C++ takes, too."""

NO_ROWS = {"flat_adam_plan_"}
"""Operations on one number of each kind."""

ROWS_OF_SUMS = {"ce_rescale_": 5}
"""Where the first argument does not begin with its rows: their number in the example."""


IN_CPP: dict[str, dict[int, Any]] = {
    "bias_gelu": {1: None},
    "bias_gelu_gradient": {1: None},
    "causal_softmax": {1: None, 3: 0},
    "causal_softmax_gradient": {2: None, 4: 0},
    "ce_pieces": {2: None},
    "ce_gradient_": {2: None},
    "cross_entropy": {2: None},
    "cross_entropy_gradient": {2: None},
}
"""What C++ takes: no bias, padding, band or mask. Which of an example's arguments are replaced for it."""

CASES = [*EXAMPLES, *(f"{name} in C++" for name in IN_CPP)]


def _example(case: str, of: Drawn) -> tuple[str, Arguments]:
    """The operation's name, and its arguments."""
    name, _, in_cpp = case.partition(" in ")
    arguments = list(EXAMPLES[name](of))
    for position, value in (IN_CPP[name] if in_cpp else {}).items():
        arguments[position] = value
    return name, tuple(arguments)


def _operation(name: str) -> Any:
    return getattr(torch.ops.megatron_codex, name).default


def _with_rows(name: str, arguments: Arguments, number: int) -> Arguments:
    """The first `number` rows of every argument that has a number for each row of the first."""
    given = ROWS_OF_SUMS.get(name) or len(arguments[0])

    def cut(value: Any) -> Any:
        if not isinstance(value, Tensor) or given not in value.shape:
            return value
        part = value.detach().narrow(list(value.shape).index(given), 0, number).clone()
        return part.requires_grad_(value.requires_grad)

    cut_arguments = [cut(value) for value in arguments]
    if name == "flat_adam_step_":  # its one segment's end, and that segment's decay
        cut_arguments[5:7] = torch.tensor([number]), arguments[6][:1]
    return tuple(cut_arguments)


def _with_gaps(arguments: Arguments) -> Arguments:
    """The same numbers, no tensor contiguous: a column of every pair, so that rows have gaps, too."""

    def spread(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        apart = torch.stack((value.detach(), torch.zeros_like(value)), dim=-1)[..., 0]
        return apart.requires_grad_(value.requires_grad)

    return tuple(spread(value) for value in arguments)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("number", [0, 1], ids=["no_rows", "one_row"])
@pytest.mark.parametrize("case", sorted(set(CASES) - NO_ROWS))
def test_few_rows(case: str, number: int, dtype: torch.dtype) -> None:
    name, arguments = _example(case, Drawn(dtype, "cpu"))
    torch.library.opcheck(_operation(name), _with_rows(name, arguments, number))


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_gaps_change_no_number(case: str, dtype: torch.dtype) -> None:
    def draw(laid_out: Callable[[Arguments], Arguments], *, differentiable: bool = False) -> Arguments:
        return laid_out(_example(case, Drawn(dtype, "cpu", differentiable=differentiable))[1])

    name = case.partition(" in ")[0]
    torch.library.opcheck(_operation(name), draw(_with_gaps, differentiable=True))
    whole, apart = draw(tuple), draw(_with_gaps)
    assert all(not value.is_contiguous() for value in apart if isinstance(value, Tensor) and value.numel() > 1)
    expected, found = (tensors_of(_operation(name)(*arguments), arguments) for arguments in (whole, apart))
    # Sums may be taken in another order.
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 8e-3}[dtype]
    for mine, wanted in zip(found, expected, strict=True):
        assert_close(mine, wanted, tolerance)
