"""Layer norm (arXiv 1607.06450) over the last dimension: the kernel of csrc/kernels/layer_norm.cu, or torch's own.

In: x [..., H], weight and bias [H]. Out: the normalised x, and of each row its mean and 1 / sqrt(variance + epsilon),
fp32. Gradients of weight and bias are sums over this rank's rows; with sequence parallelism megatron-core adds up the
ranks'.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops.registered import register, wide, wide_dtype

MAX_HIDDEN = 20480
"""Widest row that the CUDA kernel takes (csrc/kernels/layer_norm.h)."""


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """weight * (x - mean) / sqrt(variance + epsilon) + bias, in the dtype of x."""
    return _layer_norm(x, weight, bias, epsilon)[0]


def _forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    wide_x = wide(x)
    mean = wide_x.mean(-1, keepdim=True)
    inverse_deviation = (wide_x.var(-1, correction=0, keepdim=True) + epsilon).rsqrt()
    normal = (wide_x - mean) * inverse_deviation
    y = (normal * wide(weight) + wide(bias)).to(x.dtype).contiguous()
    return y, mean.flatten(), inverse_deviation.flatten()


def _backward(
    x: Tensor, weight: Tensor, mean: Tensor, inverse_deviation: Tensor, out_gradient: Tensor
) -> tuple[Tensor, Tensor]:
    x_NH, given_NH = (wide(rows).reshape(-1, rows.shape[-1]) for rows in (x, out_gradient))
    normal_NH = (x_NH - mean[:, None]) * inverse_deviation[:, None]
    of_normal_NH = given_NH * wide(weight)
    constant_N1 = of_normal_NH.mean(1, keepdim=True)
    along_N1 = (of_normal_NH * normal_NH).mean(1, keepdim=True)
    gradient_NH = (of_normal_NH - constant_N1 - normal_NH * along_N1) * inverse_deviation[:, None]
    of_parameters_2H = torch.stack(((given_NH * normal_NH).sum(0), given_NH.sum(0)))
    return gradient_NH.to(x.dtype).view(x.shape), of_parameters_2H


def _fake(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    statistics = x.new_empty(2, x.numel() // x.shape[-1], dtype=wide_dtype(x))
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        torch.empty_like(statistics[0]),
        torch.empty_like(statistics[1]),
    )


def _fake_gradients(
    x: Tensor, weight: Tensor, mean: Tensor, inverse_deviation: Tensor, out_gradient: Tensor
) -> tuple[Tensor, Tensor]:
    in_gradient = torch.empty_like(x, memory_format=torch.contiguous_format)
    return in_gradient, x.new_empty(2, x.shape[-1], dtype=wide_dtype(x))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, _ = inputs
    ctx.save_for_backward(x, weight, *output[1:])
    ctx.bias_dtype = bias.dtype
    ctx.mark_non_differentiable(*output[1:])


def _gradients(ctx: Any, out_gradient: Tensor, *of_statistics: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    x, weight, mean, inverse_deviation = ctx.saved_tensors
    in_gradient, of_parameters_2H = _layer_norm_gradient(x, weight, mean, inverse_deviation, out_gradient)
    return in_gradient, of_parameters_2H[0].to(weight.dtype), of_parameters_2H[1].to(ctx.bias_dtype), None


_layer_norm = register(
    "layer_norm(Tensor x, Tensor weight, Tensor bias, float epsilon) -> (Tensor, Tensor, Tensor)",
    reference=_forward,
    fake=_fake,
    setup_context=_keep,
    backward=_gradients,
)
_layer_norm_gradient = register(
    "layer_norm_gradient(Tensor x, Tensor weight, Tensor mean, Tensor inverse_deviation, Tensor out_gradient)"
    " -> (Tensor, Tensor)",
    reference=_backward,
    fake=_fake_gradients,
)
