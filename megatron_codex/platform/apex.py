"""NVIDIA Apex (https://github.com/NVIDIA/apex), imported here only: its fused Adam and layer norm. Not run by this
project's tests, which have no GPU.

In: nothing. Out: its classes, or an InputError that says what is missing. The package of this name on PyPI is another
one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from megatron_codex.errors import InputError


def fused_adam(field: str) -> type[Any]:
    """apex.optimizers.FusedAdam. field: the configuration's, for messages."""
    try:
        from apex.optimizers import FusedAdam
    except (ImportError, OSError) as error:
        _refuse_import(field, error)
    _require_cuda(field)
    return FusedAdam


def layer_norm(field: str) -> Callable[[Tensor, Tensor, Tensor, float], Tensor]:
    """(x, weight, bias, epsilon) -> x normalised over its last dimension. field: the configuration's, for messages."""
    try:
        from apex.normalization.fused_layer_norm import fused_layer_norm_affine
    except (ImportError, OSError) as error:
        _refuse_import(field, error)
    _require_cuda(field)

    def normalise(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        return fused_layer_norm_affine(x, weight, bias, weight.shape, epsilon)

    return normalise


def _refuse_import(field: str, error: Exception) -> NoReturn:
    _refuse(field, f"needs NVIDIA Apex, which cannot be imported ({' '.join(str(error).split())})")


def _require_cuda(field: str) -> None:
    if not torch.cuda.is_available():
        _refuse(field, "needs a CUDA device, and there is none here")


def _refuse(field: str, rule: str) -> NoReturn:
    remedy = "build it from https://github.com/NVIDIA/apex with --cpp_ext --cuda_ext, or leave this field out"
    raise InputError(field, value="apex", rule=rule, remedy=remedy)
