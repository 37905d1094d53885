"""GELU with tanh (arXiv 1606.08415) of x + bias: the kernel of csrc/kernels/bias_gelu.cu, or C++ on a CPU, or torch.

In: x, and a bias of its last dimension or none. Out: the same shape and dtype, differentiable. On a GPU the sum is
never written to memory; on a CPU it is, since adding again in the backward pass would cost what it saves.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import reference, reference_rows, rows
from megatron_codex.ops.registered import register, wide_dtype


def bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """GELU of x + bias, of any shape."""
    if bias is not None and x.device.type == "cpu":
        x, bias = x + bias, None
    return _bias_gelu(x, bias)


def reference_bias_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same in plain torch, which differentiates it by itself."""
    return reference_rows.gelu(x if bias is None else x + bias)


def _forward(x: Tensor, bias: Tensor | None) -> Tensor:
    return (reference_rows.gelu(x) if bias is None else reference.bias_gelu(x, bias)).contiguous()


def _forward_cpu(x: Tensor, bias: Tensor | None) -> Tensor:
    return rows.gelu(x.contiguous()) if bias is None else _forward(x, bias)


def _backward(x: Tensor, bias: Tensor | None, out_gradient: Tensor) -> tuple[Tensor, Tensor]:
    if bias is None:
        return reference_rows.gelu_gradient(x, out_gradient).contiguous(), _no_gradient(x)
    x_NF, given_NF = (rows.reshape(-1, x.shape[-1]) for rows in (x, out_gradient))
    in_gradient_NF, bias_gradient = reference.bias_gelu_gradient(x_NF, bias, given_NF)
    return in_gradient_NF.reshape(x.shape).contiguous(), bias_gradient


def _backward_cpu(x: Tensor, bias: Tensor | None, out_gradient: Tensor) -> tuple[Tensor, Tensor]:
    if bias is not None:
        return _backward(x, bias, out_gradient)
    return rows.gelu_gradient(x.contiguous(), out_gradient.contiguous()), _no_gradient(x)


def _no_gradient(x: Tensor) -> Tensor:
    return x.new_zeros(0, dtype=wide_dtype(x))


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
