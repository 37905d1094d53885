"""The choice of `kernels` as functions: which ones layers, losses and sampling call, made once and said once.

In: auto, reference or own, and the kind of device; and whose layers, norms and Adam are used otherwise. Out: an
Operations for training, a DecodingOperations for sampling, and a line for each operation (ops/programs.py). `own` is
refused where the library it needs is missing; `auto` takes what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops import cross_entropy as ce
from megatron_codex.ops import reference_rows, rows
from megatron_codex.ops.bias_gelu import bias_gelu, reference_bias_gelu
from megatron_codex.ops.cross_entropy import CrossEntropy
from megatron_codex.ops.cuda_library import why_missing
from megatron_codex.ops.layer_norm import layer_norm
from megatron_codex.ops.programs import (
    ADAM,
    CROSS_ENTROPY,
    FIELD,
    GELU,
    HEAD_SIZES,
    LAYER_NORM,
    LINEAR,
    SOFTMAX,
    Active,
    Device,
    Kernels,
    one,
    require_kernels,
)
from megatron_codex.ops.shared_prefix import (
    Attention,
    reference_shared_prefix_attention,
    shared_prefix_attention,
)


class BlockStatistics(Protocol):
    """What rows.block_statistics and its reference are."""

    def __call__(self, logits_NV: Tensor, *, block_size: int, scale: float) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Operations:
    """What a layer and a loss call."""

    bias_gelu: Callable[[Tensor, Tensor | None], Tensor]
    layer_norm: Callable[[Tensor, Tensor, Tensor, float], Tensor]
    cross_entropy: CrossEntropy
    own_attention: bool
    """Whether plainly causal attention takes this room's softmax, where it is better than torch's."""


@dataclass(frozen=True, kw_only=True)
class DecodingOperations:
    """What sampling calls at each token."""

    attention: Attention
    block_statistics: BlockStatistics


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


def device_here() -> Device:
    """The kind of device that this machine trains on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def operations(kernels: Kernels) -> Operations:
    """The operations of a choice on this machine's device.

    Raises: InputError where `own` cannot be had.
    """
    require_kernels(kernels, device=device_here())
    if torch.cuda.is_available() and kernels != "reference":
        why_missing()  # loads the library
    return _REFERENCE if kernels == "reference" else _REGISTERED


def decoding_operations(kernels: Kernels, *, device: Device, head_size: int, field: str = FIELD) -> DecodingOperations:
    """The operations of sampling on a kind of device, for a model with heads of head_size channels.

    Raises: InputError, which names `field`, where `own` cannot be had.
    """
    require_kernels(kernels, device=device, field=field, head_size=head_size)
    attention: Attention = shared_prefix_attention
    if kernels == "reference" or (device == "cuda" and (head_size not in HEAD_SIZES or why_missing() is not None)):
        attention = reference_shared_prefix_attention
    statistics = reference_rows.block_statistics if kernels == "reference" else rows.block_statistics
    return DecodingOperations(attention=attention, block_statistics=statistics)


def active(
    kernels: Kernels,
    *,
    device: Device | None = None,
    transformer_impl: str = "local",
    layer_norm_backend: str = "kernels",
    optimizer_backend: str = "torch",
) -> tuple[Active, ...]:
    """What does each operation of training, and why.

    device: none: the one this machine trains on. The others: as model and optimizer have them.
    """
    device = device or device_here()
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


def _adam(kernels: Kernels, device: Device, backend: str) -> Active:
    if backend == "flat_adam":
        # The optimizer is chosen by its own setting: with kernels=reference it is flat_adam all the same.
        return one(ADAM, "auto" if kernels == "reference" else kernels, device=device)
    program = {"torch": "torch", "apex": "Apex", "transformer_engine": "Transformer Engine"}[backend]
    return Active(operation=ADAM, program=program, why=f"optimizer.backend={backend}")
