"""How an operation of this room becomes one of torch's: torch.ops.megatron_codex.NAME, for eager code and compilers
alike.

In: a schema and the functions behind it. Out: the operation. torch's dispatcher then takes the CUDA kernel of
csrc/kernels where ops/cuda_library.py has loaded one, the C++ function where a tensor lies on a CPU and there is one,
and the reference in plain torch everywhere else: ops/choice.py says which. Schemas stand here and nowhere else; the
CUDA library registers kernels for them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "megatron_codex"

SCHEMAS: dict[str, str] = {}
"""Of every operation registered so far, by name."""

_library = torch.library.Library(NAMESPACE, "DEF")

Function = Callable[..., Any]


def register(
    schema: str,
    *,
    reference: Function,
    fake: Function,
    cpu: Function | None = None,
    setup_context: Function | None = None,
    backward: Function | None = None,
) -> Any:
    """Register one operation; what it is called by.

    schema: torch's notation, arguments that are written marked. reference: for every device and for fp64. fake: outputs
    of the right shape and dtype from inputs without content. cpu: the C++ library's, or the reference where it cannot
    serve. setup_context, backward: as torch.library.register_autograd takes them; none: not differentiable.
    """
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, reference, "CompositeExplicitAutograd")
    if cpu is not None:
        _library.impl(name, cpu, "CPU")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_library)
    if backward is not None:
        torch.library.register_autograd(f"{NAMESPACE}::{name}", backward, setup_context=setup_context, lib=_library)
    SCHEMAS[name] = schema
    return getattr(torch.ops.megatron_codex, name).default


def wide(x: Tensor) -> Tensor:
    """In the type that sums are taken in: fp32, and fp64 for fp64, which gradients are checked in."""
    return x if x.dtype == torch.float64 else x.float()


def wide_dtype(x: Tensor) -> torch.dtype:
    """The type that sums over x are taken in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
