"""Layer norm (arXiv 1607.06450) over the last dimension: the kernel of csrc/kernels/layer_norm.cu, or torch's own.

In: x [..., H], weight and bias [H]. Out: the normalised x, and of each row its mean and 1 / sqrt(variance + epsilon),
fp32. Gradients of weight and bias are sums over this rank's rows; with sequence parallelism megatron-core adds up the
ranks'. The CUDA kernel refuses rows wider than 20,480.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.ops import reference
from megatron_codex.ops.registered import register, wide_dtype


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """weight * (x - mean) / sqrt(variance + epsilon) + bias, in the dtype of x."""
    return _layer_norm(x, weight, bias, epsilon)[0]


def _forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    y_NH, mean_N, inverse_deviation_N = reference.layer_norm(_as_rows(x), weight, bias, epsilon=epsilon)
    return y_NH.reshape(x.shape), mean_N, inverse_deviation_N


def _backward(
    x: Tensor, weight: Tensor, mean: Tensor, inverse_deviation: Tensor, out_gradient: Tensor
) -> tuple[Tensor, Tensor]:
    given = (_as_rows(x), weight, mean, inverse_deviation, _as_rows(out_gradient))
    in_gradient_NH, of_parameters_2H = reference.layer_norm_gradient(*given)
    return in_gradient_NH.reshape(x.shape), of_parameters_2H


def _as_rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


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
