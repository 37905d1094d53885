"""The twins of csrc/kernels in plain torch, header by header: oracle of their tests, and what runs without them.

Arithmetic is fp32 (fp64 for fp64 tensors, which no kernel takes) and results are rounded once to the tensor's dtype, as
in CUDA; sums may differ in their last bits. ops/reference_rows.py has the twins of csrc/cpu/rows.

Shapes: N rows, V columns, K keys; P columns with padding, B samples, A heads, Q queries, S positions, D head size,
F features, H hidden, E elements of a flat buffer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from megatron_codex.ops.reference_rows import cross_entropy_gradient, gelu, gelu_gradient, row_statistics
from megatron_codex.ops.registered import wide

# vocab_parallel_ce.h


def ce_pieces(
    logits_NP: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, *, true_columns: int, first_column: int
) -> tuple[Tensor, Tensor]:
    """Over this rank's columns: the largest [N]; sum of exp(logit - largest) and the label's logit [2, N]."""
    largest_N, sums_N = row_statistics(logits_NP[:, :true_columns])
    columns_N = labels_N - first_column
    here_N = (columns_N >= 0) & (columns_N < true_columns)
    at_label_N = logits_NP.gather(1, columns_N.where(here_N, 0)[:, None])[:, 0] if true_columns else torch.zeros(())
    sums_2N = torch.stack((sums_N, wide(at_label_N).where(here_N, 0.0)))
    if loss_mask_N is not None:
        largest_N = largest_N.masked_fill(~loss_mask_N, -torch.inf)
        sums_2N = sums_2N.masked_fill(~loss_mask_N, 0.0)
    return largest_N, sums_2N


def ce_rescale(sums_2N: Tensor, *, local_largest_N: Tensor, largest_N: Tensor) -> None:
    """In place: the sum of exponentials becomes relative to the largest of all ranks."""
    sums_2N[0] *= (local_largest_N - largest_N.masked_fill(largest_N == -torch.inf, 0.0)).exp()


def ce_loss(
    largest_N: Tensor, sums_2N: Tensor, labels_N: Tensor, loss_mask_N: Tensor | None, *, vocabulary: int
) -> tuple[Tensor, Tensor, Tensor]:
    """-log p(label), log p(label) and the logarithm of the sum of exponentials of each row; 0 in ignored rows."""
    log_sums_N = largest_N + sums_2N[0].log()
    known_N = (labels_N >= 0) & (labels_N < vocabulary)
    log_ps_N = (sums_2N[1] - log_sums_N).masked_fill(~known_N, torch.nan)
    if loss_mask_N is not None:
        log_sums_N, log_ps_N = log_sums_N.where(loss_mask_N, 0.0), log_ps_N.where(loss_mask_N, 0.0)
    return -log_ps_N, log_ps_N, log_sums_N


def ce_gradient(
    logits_NP: Tensor,
    labels_N: Tensor,
    loss_mask_N: Tensor | None,
    *,
    log_sums_N: Tensor,
    loss_gradients_N: Tensor,
    true_columns: int,
    first_column: int,
    zero_ignored: bool,
) -> None:
    """In place: logits become their gradient; ignored rows stay as they are, or become 0."""
    rows_N = torch.arange(len(labels_N), device=labels_N.device) if loss_mask_N is None else loss_mask_N.nonzero()[:, 0]
    counted_NP = logits_NP[rows_N]
    cross_entropy_gradient(
        counted_NP,
        true_columns=true_columns,
        labels_N=labels_N[rows_N] - first_column,
        log_sums_N=log_sums_N[rows_N],
        gradients_N=loss_gradients_N[rows_N],
    )
    if zero_ignored:
        logits_NP.zero_()
    logits_NP[rows_N] = counted_NP


# flat_adam.h


def flat_adam_square_sum(gradients_E: Tensor) -> Tensor:
    """Sum of squares, one fp64: inf or NaN where a gradient is."""
    return gradients_E.double().square().sum()


def flat_adam_plan(
    square_sum: Tensor, step: Tensor, *, gradient_scale: float, clip_grad: float, lr: float, beta1: float, beta2: float
) -> Tensor:
    """The five floats of CodexFlatAdamPlan; counts the step up unless it is skipped."""
    norm = float(square_sum.sqrt()) * gradient_scale
    skipped = not math.isfinite(norm)
    step += 0 if skipped else 1
    clip = min(1.0, clip_grad / (norm + 1e-6)) if clip_grad > 0.0 and not skipped else 1.0
    if skipped:
        return torch.tensor([0.0, 0.0, 1.0, 1.0, norm], dtype=torch.float32)
    first, second = 1.0 - beta1 ** int(step), math.sqrt(1.0 - beta2 ** int(step))
    return torch.tensor([gradient_scale * clip, lr / first, second, 0.0, norm], dtype=torch.float32)


def flat_adam_step(
    gradients_E: Tensor,
    *,
    master_E: Tensor,
    exp_avg_E: Tensor,
    exp_avg_sq_E: Tensor,
    parameters_E: Tensor | None,
    segment_ends_S: Tensor,
    weight_decays_S: Tensor,
    plan: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """In place, one step of torch.optim.AdamW (its single-tensor operations, in their order), then parameters_E."""
    factor, step_size, correction, skipped, _ = plan.tolist()
    if skipped:
        return
    scaled_E = gradients_E.to(exp_avg_E.dtype) * factor
    ends = segment_ends_S.tolist()
    for begin, end, decay in zip([0, *ends[:-1]], ends, weight_decays_S.tolist(), strict=True):
        master_E[begin:end].mul_(1.0 - lr * decay)
    exp_avg_E.lerp_(scaled_E, 1.0 - beta1)
    exp_avg_sq_E.mul_(beta2).addcmul_(scaled_E, scaled_E, value=1.0 - beta2)
    master_E.addcdiv_(exp_avg_E, (exp_avg_sq_E.sqrt() / correction).add_(eps), value=-step_size)
    if parameters_E is not None:
        parameters_E.copy_(master_E)


# merge_attn_states.h and decode_suffix.h


def merge_attn_states(
    first_ND: Tensor, first_lse_N: Tensor, second_ND: Tensor, second_lse_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Attention over two sets of keys from that over each, and its log-sum-exp; zeros and -inf without keys."""
    lse_N = torch.logaddexp(first_lse_N, second_lse_N)
    base_N = lse_N.masked_fill(lse_N == -torch.inf, 0.0)
    merged_ND = torch.zeros_like(wide(first_ND))
    for part_ND, part_lse_N in ((first_ND, first_lse_N), (second_ND, second_lse_N)):
        share_N1 = (part_lse_N - base_N).exp()[:, None]
        merged_ND += torch.where(share_N1 == 0.0, 0.0, share_N1 * wide(part_ND))
    return merged_ND.to(first_ND.dtype), lse_N


def decode_suffix(
    queries_BAD: Tensor, keys_BSAD: Tensor, values_BSAD: Tensor, lengths_B: Tensor, *, window: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention of each sample's query over its first lengths_B positions (the last `window` of them; 0: all)."""
    position_S = torch.arange(keys_BSAD.shape[1], device=lengths_B.device)
    seen_BS = position_S < lengths_B[:, None]
    if window > 0:
        seen_BS &= position_S >= lengths_B[:, None] - window
    scores_BAS = torch.einsum("bad,bsad->bas", wide(queries_BAD), wide(keys_BSAD)) * scale
    scores_BAS = scores_BAS.masked_fill(~seen_BS[:, None], -torch.inf)
    values_BSAD = wide(values_BSAD).masked_fill(~seen_BS[:, :, None, None], 0.0)
    shares_BAS = scores_BAS.softmax(dim=2).masked_fill(~seen_BS[:, None], 0.0)
    attended_BAD = torch.einsum("bas,bsad->bad", shares_BAS, values_BSAD)
    return attended_BAD.to(queries_BAD.dtype), scores_BAS.logsumexp(dim=2)


# causal_softmax.h


def banded_softmax(
    scores_BAQK: Tensor, left_padding_B: Tensor | None, *, first_key: int, window: int, scale: float
) -> Tensor:
    """softmax(scale * score) over the keys that each query sees; 0 for the others."""
    hidden_BAQK = _unseen(scores_BAQK, left_padding_B, first_key=first_key, window=window)
    shares_BAQK = (wide(scores_BAQK) * scale).masked_fill(hidden_BAQK, -torch.inf).softmax(dim=3)
    return shares_BAQK.masked_fill(hidden_BAQK, 0.0).to(scores_BAQK.dtype)


def banded_softmax_gradient(
    probabilities_BAQK: Tensor,
    gradients_BAQK: Tensor,
    left_padding_B: Tensor | None,
    *,
    first_key: int,
    window: int,
    scale: float,
) -> Tensor:
    """The gradient of the scores from that of the probabilities."""
    hidden_BAQK = _unseen(gradients_BAQK, left_padding_B, first_key=first_key, window=window)
    given_BAQK = wide(gradients_BAQK).masked_fill(hidden_BAQK, 0.0)
    shares_BAQK = wide(probabilities_BAQK).masked_fill(hidden_BAQK, 0.0)
    mean_BAQ1 = (shares_BAQK * given_BAQK).sum(dim=3, keepdim=True)
    return (shares_BAQK * (given_BAQK - mean_BAQ1) * scale).to(gradients_BAQK.dtype)


def _unseen(of_BAQK: Tensor, left_padding_B: Tensor | None, *, first_key: int, window: int) -> Tensor:
    query_Q1 = first_key + torch.arange(of_BAQK.shape[2], device=of_BAQK.device)[:, None]
    key_K = torch.arange(of_BAQK.shape[3], device=of_BAQK.device)
    hidden_QK = key_K > query_Q1
    if window > 0:
        hidden_QK = hidden_QK | (key_K <= query_Q1 - window)
    if left_padding_B is None:
        return hidden_QK
    return hidden_QK | (key_K < left_padding_B[:, None, None, None])


# bias_gelu.h


def bias_gelu(x_NF: Tensor, bias_F: Tensor) -> Tensor:
    """GELU of x + bias."""
    return gelu(wide(x_NF) + wide(bias_F)).to(x_NF.dtype)


def bias_gelu_gradient(x_NF: Tensor, bias_F: Tensor, out_gradients_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x, and of the bias unrounded: with sequence parallelism a part of it."""
    gradients_NF = gelu_gradient(wide(x_NF) + wide(bias_F), wide(out_gradients_NF))
    return gradients_NF.to(x_NF.dtype), gradients_NF.sum(dim=0)


# layer_norm.h


def layer_norm(x_NH: Tensor, weight_H: Tensor, bias_H: Tensor, *, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """The normalised rows, each row's mean, and its 1 / sqrt(variance + epsilon)."""
    wide_NH = wide(x_NH)
    means_N = wide_NH.mean(dim=1)
    centred_NH = wide_NH - means_N[:, None]
    inverse_N = (centred_NH.square().mean(dim=1) + epsilon).rsqrt()  # var() warns where there are no rows
    y_NH = centred_NH * inverse_N[:, None] * wide(weight_H) + wide(bias_H)
    return y_NH.to(x_NH.dtype), means_N, inverse_N


def layer_norm_gradient(
    x_NH: Tensor, weight_H: Tensor, means_N: Tensor, inverse_deviations_N: Tensor, out_gradients_NH: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x; those of weight and bias [2, H], unrounded: with sequence parallelism a part of them."""
    normal_NH = (wide(x_NH) - means_N[:, None]) * inverse_deviations_N[:, None]
    given_NH = wide(out_gradients_NH)
    weighted_NH = given_NH * wide(weight_H)
    centred_NH = weighted_NH - weighted_NH.mean(dim=1, keepdim=True)
    x_gradients_NH = centred_NH - normal_NH * (weighted_NH * normal_NH).mean(dim=1, keepdim=True)
    x_gradients_NH = x_gradients_NH * inverse_deviations_N[:, None]
    of_parameters_2H = torch.stack(((given_NH * normal_NH).sum(dim=0), given_NH.sum(dim=0)))
    return x_gradients_NH.to(x_NH.dtype), of_parameters_2H
