"""NVIDIA Transformer Engine (https://github.com/NVIDIA/TransformerEngine), imported here only: megatron-core's linear
layers and norm over it, and its fused Adam. Not run by this project's tests, which have no GPU.

In: nothing. Out: its classes, or an InputError that says what is missing. megatron-core's own module of these layers
can be imported without Transformer Engine and holds mocks then, so it is asked for only once the library itself was
imported.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from megatron_codex.errors import InputError


def fused_adam(field: str) -> type[Any]:
    """transformer_engine.pytorch.optimizers.FusedAdam. field: the configuration's, for messages."""
    _require(field)
    from transformer_engine.pytorch.optimizers import FusedAdam

    return FusedAdam


def layers(field: str) -> tuple[Any, Any, Any]:
    """megatron-core's (column-parallel linear layer, row-parallel linear layer, norm) over Transformer Engine."""
    _require(field)
    from megatron.core.extensions.transformer_engine import TEColumnParallelLinear, TENorm, TERowParallelLinear

    return TEColumnParallelLinear, TERowParallelLinear, TENorm


def _require(field: str) -> None:
    try:
        import transformer_engine.pytorch  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:  # its shared libraries need CUDA's
        reason = " ".join(str(error).split())
        _refuse(field, f"needs Transformer Engine, which cannot be imported ({reason})")
    if not torch.cuda.is_available():
        _refuse(field, "needs a CUDA device, and there is none here")


def _refuse(field: str, rule: str) -> NoReturn:
    remedy = "pip install 'megatron-codex[gpu]', or leave this field out"
    raise InputError(field, value="transformer_engine", rule=rule, remedy=remedy)
