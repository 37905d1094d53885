"""Which program does each operation, and why: the choice of model.kernels, made once and said once.

In: auto, reference or own, and the kind of device; and whose layers, norms and Adam are used otherwise. Out: an
Operations, which layers and losses call, and a line for each operation. `own` is refused where the library it needs is
missing; `auto` takes what is there.
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
from megatron_codex.ops.layer_norm import layer_norm

Kernels = Literal["auto", "reference", "own"]
FIELD = "model.kernels"

CROSS_ENTROPY, GELU, SOFTMAX = "cross entropy", "GELU", "causal softmax"
LAYER_NORM, ADAM, LINEAR, DECODING = "layer norm", "Adam", "linear layers", "decoding beside a shared prefix"

_IN_CPP = {
    CROSS_ENTROPY: "csrc/cpu/rows",
    GELU: "csrc/cpu/rows",
    SOFTMAX: "csrc/cpu/rows, in plainly causal attention that is short and bf16, or attention_backend=unfused",
}
_NOT_IN_CPP = {
    LAYER_NORM: "no C++ twin: torch's is one pass",
    ADAM: "no C++ twin of flat_adam: the same in torch",
    DECODING: "no C++ twin; sampling on a CPU does not call it",
}
_IN_CUDA = {
    CROSS_ENTROPY: "csrc/kernels/vocab_parallel_ce.cu",
    GELU: "csrc/kernels/bias_gelu.cu",
    SOFTMAX: "csrc/kernels/causal_softmax.cu, with attention_backend=unfused, bands and left padding too",
    LAYER_NORM: "csrc/kernels/layer_norm.cu",
    ADAM: "csrc/kernels/flat_adam.cu",
    DECODING: "csrc/kernels/decode_suffix.cu, merge_attn_states.cu; sampling does not call ops/shared_prefix.py yet",
}


@dataclass(frozen=True, kw_only=True)
class Active:
    """What does one operation."""

    operation: str
    program: str
    """CUDA kernel, CPU C++, torch, or a library's name."""
    why: str


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What a layer and a loss call."""

    bias_gelu: Callable[[Tensor, Tensor | None], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    cross_entropy: CrossEntropy
    own_attention: bool
    """Whether plainly causal attention takes this room's softmax, where it is better than torch's."""


def _torch_layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    return F.layer_norm(x, weight.shape, weight, bias, epsilon)


def _layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    # On a CPU, and without the kernel, torch's fused one is better than the plain steps of ops/layer_norm.py.
    own = x.is_cuda and why_missing() is None
    return layer_norm(x, weight, bias, epsilon) if own else _torch_layer_norm(x, weight, bias, epsilon)


_REFERENCE = Operations(
    bias_gelu=reference_bias_gelu,
    layer_norm=_torch_layer_norm,
    cross_entropy=ce.REFERENCE,
    own_attention=False,
)
_REGISTERED = Operations(bias_gelu=bias_gelu, layer_norm=_layer_norm, cross_entropy=ce.REGISTERED, own_attention=True)


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


def active(
    kernels: Kernels,
    *,
    device: str | None = None,
    transformer_impl: str = "local",
    layer_norm_backend: str = "kernels",
    optimizer_backend: str = "torch",
) -> tuple[Active, ...]:
    """What does each operation of training, and why.

    device: "cpu" or "cuda"; none: the one this machine trains on. The others: as model and optimizer have them.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    found = [one(name, kernels, device=device) for name in (CROSS_ENTROPY, GELU, SOFTMAX)]
    if transformer_impl == "transformer_engine":
        why = "model.transformer_impl=transformer_engine"
        return (
            *found,
            Active(operation=LAYER_NORM, program="Transformer Engine", why=why),
            Active(operation=LINEAR, program="Transformer Engine", why=why),
            _adam(kernels, device, optimizer_backend),
        )
    norm = one(LAYER_NORM, kernels, device=device)
    if layer_norm_backend == "apex":
        norm = Active(operation=LAYER_NORM, program="Apex", why="model.layer_norm_backend=apex")
    linear = Active(operation=LINEAR, program="megatron-core", why="model.transformer_impl=local")
    return (*found, norm, linear, _adam(kernels, device, optimizer_backend))


def one(name: str, kernels: Kernels, *, device: str) -> Active:
    """What does one operation of csrc/kernels."""
    if kernels == "reference":
        return Active(operation=name, program="torch", why="model.kernels=reference")
    return _on_cuda(name) if device == "cuda" else _on_cpu(name)


def _adam(kernels: Kernels, device: str, backend: str) -> Active:
    if backend == "flat_adam":
        # The optimizer is chosen by its own setting: with kernels=reference it is flat_adam all the same.
        return one(ADAM, "auto" if kernels == "reference" else kernels, device=device)
    program = {"torch": "torch", "apex": "Apex", "transformer_engine": "Transformer Engine"}[backend]
    return Active(operation=ADAM, program=program, why=f"optimizer.backend={backend}")


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
        return Active(operation=name, program="torch", why=_NOT_IN_CPP[name])
    found = fastest()
    if found is None:
        return Active(operation=name, program="torch", why="the C++ library is not built here")
    return Active(operation=name, program=f"CPU C++ ({found[1]})", why=_IN_CPP[name])
