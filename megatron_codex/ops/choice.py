"""Which program does each operation, and why: the choice of model.kernels, made once and said once.

In: auto, reference or own, and the kind of device. Out: an Operations, which layers and losses call, and a line for
each operation. `own` is refused where the library it needs is missing; `auto` takes what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.errors import InputError
from megatron_codex.native.library import fastest
from megatron_codex.ops import cross_entropy as ce
from megatron_codex.ops.bias_gelu import bias_gelu, reference_bias_gelu
from megatron_codex.ops.cross_entropy import CrossEntropy
from megatron_codex.ops.cuda_library import why_missing
from megatron_codex.ops.layer_norm import MAX_HIDDEN, layer_norm

Kernels = Literal["auto", "reference", "own"]
FIELD = "model.kernels"

_IN_CPP = {
    "cross entropy": "csrc/cpu/rows",
    "GELU": "csrc/cpu/rows",
    "causal softmax": "csrc/cpu/rows, where attention is plainly causal",
}
_IN_CUDA = {
    "cross entropy": "csrc/kernels/vocab_parallel_ce.cu",
    "GELU": "csrc/kernels/bias_gelu.cu",
    "causal softmax": "csrc/kernels/causal_softmax.cu",
    "layer norm": "csrc/kernels/layer_norm.cu",
    "Adam": "csrc/kernels/flat_adam.cu, with optimizer.backend=flat_adam",
    "decoding beside a shared prefix": "csrc/kernels/decode_suffix.cu, merge_attn_states.cu",
}


@dataclass(frozen=True, kw_only=True)
class Active:
    """What does one operation."""

    operation: str
    program: str
    """CUDA kernel, CPU C++ or torch."""
    why: str


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What a layer and a loss call."""

    bias_gelu: Callable[[Tensor, Tensor | None], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    cross_entropy: CrossEntropy
    blocked_attention: bool
    """Whether short causal attention on a CPU is ops/attention.py's."""


def _torch_layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, epsilon)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    # On a CPU, and without the kernel, torch's fused one is better than the plain steps of ops/layer_norm.py.
    own = x.is_cuda and why_missing() is None and x.shape[-1] <= MAX_HIDDEN
    return layer_norm(x, weight, bias, epsilon) if own else _torch_layer_norm(x, weight, bias, epsilon)


_REFERENCE = Operations(
    bias_gelu=reference_bias_gelu,
    layer_norm=_torch_layer_norm,
    cross_entropy=ce.REFERENCE,
    blocked_attention=False,
)
_REGISTERED = Operations(
    bias_gelu=bias_gelu, layer_norm=_layer_norm, cross_entropy=ce.REGISTERED, blocked_attention=True
)


def operations(kernels: Kernels) -> Operations:
    """The operations of a choice on this machine's device.

    Raises: InputError where `own` cannot be had.
    """
    require_kernels(kernels)
    if torch.cuda.is_available() and kernels != "reference":
        why_missing()  # loads the library
    return _REFERENCE if kernels == "reference" else _REGISTERED


def require_kernels(kernels: Kernels) -> None:
    """Raise InputError where `own` is asked for and the library for this machine's device is missing."""
    if kernels != "own":
        return
    if torch.cuda.is_available():
        reason = why_missing()
        if reason is not None:
            remedy = "build it, or give auto, which does without"
            raise InputError(FIELD, value=kernels, rule=f"needs the CUDA library: {reason}", remedy=remedy)
    elif fastest() is None:
        rule = "needs the C++ library, which is not built here"
        remedy = "install a C++17 compiler, then megatron-codex again; or give auto, which does without"
        raise InputError(FIELD, value=kernels, rule=rule, remedy=remedy)


def active(kernels: Kernels, *, device: str | None = None) -> tuple[Active, ...]:
    """What does each operation on a device ("cpu" or "cuda"; none: the one this machine trains on), and why."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if kernels == "reference":
        return tuple(Active(operation=name, program="torch", why="model.kernels=reference") for name in _IN_CUDA)
    return tuple(_on_cuda(name) if device == "cuda" else _on_cpu(name) for name in _IN_CUDA)


def in_words(found: tuple[Active, ...]) -> str:
    """One line: "CPU C++ (avx512): cross entropy, GELU; torch: layer norm"."""
    by_program: dict[str, list[str]] = {}
    for each in found:
        by_program.setdefault(each.program, []).append(each.operation)
    return "; ".join(f"{program}: {', '.join(names)}" for program, names in by_program.items())


def _on_cuda(name: str) -> Active:
    reason = why_missing()
    if reason is not None:
        return Active(operation=name, program="torch", why=f"the CUDA library: {reason}")
    return Active(operation=name, program="CUDA kernel", why=_IN_CUDA[name])


def _on_cpu(name: str) -> Active:
    if name not in _IN_CPP:
        return Active(
            operation=name, program="torch", why="there is no C++ twin: torch's is as good, or nothing calls it"
        )
    found = fastest()
    if found is None:
        return Active(operation=name, program="torch", why="the C++ library is not built here")
    return Active(operation=name, program=f"CPU C++ ({found[1]})", why=_IN_CPP[name])
