"""Linear layers of the decoder: on a CPU the weight is laid out once, as oneDNN's products read it.

In: a weight and rows. Out: rows @ weight.t() + bias. Decoding multiplies few rows by the same weights at every token,
where a product that lays the weight out anew each time loses half of its speed: measured here with 112 rows, 256
channels and 50,257 columns, one thread, 93 against 39 GFLOP/s in fp32 and 176 against 140 in bf16.

A row's result must not depend on how many rows are asked together (sampling/cache.py). oneDNN's does not, from two rows
on (tests/sampling/test_linear.py).

Shapes: N rows, I inputs, O outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = 16
"""Rows that the layout is chosen for; any number may be multiplied."""


class Linear:
    """A linear layer whose weight does not change."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        """The weight is copied where it is laid out anew: drop the one given."""
        self._bias_O = bias_O
        self._is_packed = lays_out_weights(weight_OI)
        self._weight = (
            torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), _ROWS) if self._is_packed else weight_OI
        )

    def __call__(self, rows_NI: Tensor) -> Tensor:
        """[N, O] of [N, I]."""
        if self._is_packed:
            product: Tensor = torch.ops.mkldnn._linear_pointwise(rows_NI, self._weight, self._bias_O, "none", [], "")
            return product
        return F.linear(rows_NI, self._weight, self._bias_O)


def lays_out_weights(weight: Tensor) -> bool:
    """Whether oneDNN multiplies by this weight: on a CPU, in fp32 or bf16, where torch was built with it."""
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )
