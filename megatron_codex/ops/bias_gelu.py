"""GELU with tanh (arXiv 1606.08415) of x + bias: the kernel of csrc/kernels/bias_gelu.cu, or C++ on a CPU, or torch.

In: x, and a bias of its last dimension or none. Out: the same shape and dtype, differentiable. On a GPU the sum is
never written to memory; on a CPU it is, since adding again in the backward pass would cost what it saves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import reference, rows
from megatron_codex.ops.registered import register, wide, wide_dtype


def bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of x + bias, of any shape."""
    if bias is not None and x.device.type == "cpu":
        x, bias = x + bias, None
    return _bias_gelu(x, bias)


def reference_bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same in plain torch, which differentiates it by itself."""
    return reference.gelu(x if bias is None else x + bias)


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else (wide(x) + wide(bias)).to(x.dtype)


def _forward(x: Tensor, bias: Tensor | None) -> Tensor:
    return reference.gelu(_with_bias(x, bias)).contiguous()


def _forward_cpu(x: Tensor, bias: Tensor | None) -> Tensor:
    return rows.gelu(_with_bias(x, bias).contiguous())


def _backward(x: Tensor, bias: Tensor | None, out_gradient: Tensor) -> tuple[Tensor, Tensor]:
    in_gradient = reference.gelu_gradient(_with_bias(x, bias), out_gradient).contiguous()
    return in_gradient, _bias_gradient(bias, in_gradient)


def _backward_cpu(x: Tensor, bias: Tensor | None, out_gradient: Tensor) -> tuple[Tensor, Tensor]:
    in_gradient = rows.gelu_gradient(_with_bias(x, bias).contiguous(), out_gradient.contiguous())
    return in_gradient, _bias_gradient(bias, in_gradient)


def _bias_gradient(bias: Tensor | None, in_gradient: Tensor) -> Tensor:
    """Summed in fp32 and not rounded; of no elements where there is no bias."""
    if bias is None:
        return in_gradient.new_zeros(0, dtype=wide_dtype(in_gradient))
    return wide(in_gradient).flatten(0, -2).sum(0)


def _fake_gradients(x: Tensor, bias: Tensor | None, out_gradient: Tensor) -> tuple[Tensor, Tensor]:
    size = 0 if bias is None else x.shape[-1]
    return _fake(x, bias), x.new_empty(size, dtype=wide_dtype(x))


def _fake(x: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, out_gradient: Tensor) -> tuple[Tensor, Tensor | None]:
    x, bias = ctx.saved_tensors
    in_gradient, bias_gradient = _bias_gelu_gradient(x, bias, out_gradient)
    return in_gradient, None if bias is None else bias_gradient.to(bias.dtype)


_bias_gelu = register(
    "bias_gelu(Tensor x, Tensor? bias) -> Tensor",
    reference=_forward,
    cpu=_forward_cpu,
    fake=_fake,
    setup_context=_keep,
    backward=_gradients,
)
_bias_gelu_gradient = register(
    "bias_gelu_gradient(Tensor x, Tensor? bias, Tensor out_gradient) -> (Tensor, Tensor)",
    reference=_backward,
    cpu=_backward_cpu,
    fake=_fake_gradients,
)
