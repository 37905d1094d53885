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
@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - NO_ROWS))
def test_few_rows(name: str, number: int, dtype: torch.dtype) -> None:
    arguments = _with_rows(name, EXAMPLES[name](Drawn(dtype, "cpu")), number)
    torch.library.opcheck(_operation(name), arguments)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_gaps_change_no_number(name: str, dtype: torch.dtype) -> None:
    def draw(laid_out: Callable[[Arguments], Arguments], *, differentiable: bool = False) -> Arguments:
        return laid_out(EXAMPLES[name](Drawn(dtype, "cpu", differentiable=differentiable)))

    torch.library.opcheck(_operation(name), draw(_with_gaps, differentiable=True))
    whole, apart = draw(tuple), draw(_with_gaps)
    assert all(not value.is_contiguous() for value in apart if isinstance(value, Tensor) and value.numel() > 1)
    expected, found = (tensors_of(_operation(name)(*arguments), arguments) for arguments in (whole, apart))
    # Sums may be taken in another order.
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 8e-3}[dtype]
    for mine, wanted in zip(found, expected, strict=True):
        assert_close(mine, wanted, tolerance)
