"""The twins of csrc/cpu/rows in plain torch: oracle of their tests, and what runs without them.

Arithmetic is fp32 (fp64 for fp64 tensors, which C++ does not take) and results are rounded once to the tensor's dtype,
as in C++; sums may differ in their last bits.

Shapes: N rows, V columns, B blocks of K columns; in softmax K keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from megatron_codex.ops.registered import wide


def row_statistics(logits_NV: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row, fp32: its largest element and the sum of exp(element - largest)."""
    floats_NV = wide(logits_NV)
    if floats_NV.shape[1] == 0:
        return floats_NV.new_full(floats_NV.shape[:1], -torch.inf), floats_NV.new_zeros(floats_NV.shape[:1])
    largest_N = floats_NV.amax(dim=1)
    return largest_N, (floats_NV - largest_N[:, None]).exp_().sum(dim=1)


def block_statistics(logits_NV: Tensor, *, block_size: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row's blocks of columns: the largest element, the sum of exp(element - largest), and of exp(scale *
    (element - largest)). A block of -inf alone gives NaN for sums."""
    N, V = logits_NV.shape
    padded_NX = F.pad(wide(logits_NV), (0, -V % block_size), value=-torch.inf)
    blocks_NBK = padded_NX.view(N, -1, block_size)
    largest_NB = blocks_NBK.amax(dim=2)
    below_NBK = blocks_NBK - largest_NB[..., None]
    return largest_NB, below_NBK.exp().sum(dim=2), below_NBK.mul_(scale).exp_().sum(dim=2)


def cross_entropy_gradient(
    logits_NV: Tensor, *, true_columns: int, labels_N: Tensor, log_sums_N: Tensor, gradients_N: Tensor
) -> None:
    """In place: (exp(logit - log_sum) - [column is the label]) * gradient of the row; 0 from true_columns on."""
    floats_NV = (wide(logits_NV[:, :true_columns]) - log_sums_N[:, None]).exp_()
    rows_N = torch.nonzero((labels_N >= 0) & (labels_N < true_columns))[:, 0]
    floats_NV[rows_N, labels_N[rows_N]] -= 1.0
    logits_NV[:, :true_columns] = floats_NV.mul_(gradients_N[:, None]).to(logits_NV.dtype)
    logits_NV[:, true_columns:] = 0


def cross_entropy(
    logits_NV: Tensor, *, true_columns: int, labels_N: Tensor, gradients_N: Tensor
) -> tuple[Tensor, Tensor]:
    """In place: logits to their gradients by each row's own statistics; of each row, fp32: the largest [N]; the sum of
    exp(logit - largest) and the label's logit, 0 where it is in no column [2, N]."""
    largest_N, sums_N = row_statistics(logits_NV[:, :true_columns])
    at_labels_N = torch.zeros_like(sums_N)
    rows_N = torch.nonzero((labels_N >= 0) & (labels_N < true_columns))[:, 0]
    at_labels_N[rows_N] = wide(logits_NV[rows_N, labels_N[rows_N]])
    cross_entropy_gradient(
        logits_NV,
        true_columns=true_columns,
        labels_N=labels_N,
        log_sums_N=largest_N + sums_N.log(),
        gradients_N=gradients_N,
    )
    return largest_N, torch.stack((sums_N, at_labels_N))


def gelu(x: Tensor) -> Tensor:
    """GELU with tanh (arXiv 1606.08415)."""
    return F.gelu(x, approximate="tanh")


def gelu_gradient(x: Tensor, out_gradient: Tensor) -> Tensor:
    """Gradient of gelu's input."""
    return torch.ops.aten.gelu_backward(out_gradient, x, approximate="tanh")


def causal_softmax(scores_NK: Tensor, *, num_queries: int, first_key: int, scale: float) -> None:
    """In place: softmax(scale * score) over the keys up to first_key + row % num_queries, 0 beyond."""
    hidden_NK = _hidden(scores_NK, num_queries, first_key)
    scores_NK.copy_((scores_NK.float() * scale).masked_fill_(hidden_NK, -torch.inf).softmax(dim=1))


def causal_softmax_gradient(
    probabilities_NK: Tensor, gradient_NK: Tensor, *, num_queries: int, first_key: int, scale: float
) -> None:
    """In place: the gradient of the probabilities becomes that of the scores before they were scaled."""
    hidden_NK = _hidden(gradient_NK, num_queries, first_key)
    given_NK = gradient_NK.float().masked_fill_(hidden_NK, 0.0)
    floats_NK = probabilities_NK.float()
    mean_N1 = (floats_NK * given_NK).sum(dim=1, keepdim=True)
    gradient_NK.copy_((floats_NK * (given_NK - mean_N1) * scale).masked_fill_(hidden_NK, 0.0))


def _hidden(rows_NK: Tensor, num_queries: int, first_key: int) -> Tensor:
    query_N1 = torch.arange(rows_NK.shape[0], device=rows_NK.device)[:, None] % num_queries
    return torch.arange(rows_NK.shape[1], device=rows_NK.device)[None, :] > first_key + query_N1
