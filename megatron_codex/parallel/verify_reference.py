"""The model on one rank, written out: plain torch in float64, against which the engine is verified.

In: full weights by name, and a global batch as the data set made it. Out: the loss, every gradient, and what AdamW
makes of them. Nothing here is the engine's: no megatron-core, no masks, no shards. Each document of a row is run by
itself, so nothing can leak from its neighbours; positions are counted and labels read off the tokens here, so a batch
whose own are wrong is found; rows of vocabulary padding do not exist. Source of the equations: GPT-2 and GPT-3
(pre-norm, learned positions, tanh GELU, tied embeddings), Loshchilov and Hutter (AdamW), and megatron-core's order of
q, k and v.

Shapes: S positions of a document, H hidden, A heads, D channels of a head, V true vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.data.batch import PADDING_DOCUMENT, Batch

Tensors = dict[str, Tensor]
"""Full float64 tensors by megatron-core's names in an unsharded model."""

_EMBEDDING, _POSITIONS = "embedding.word_embeddings.weight", "embedding.position_embeddings.weight"


@dataclass(frozen=True, kw_only=True)
class ReferenceStep:
    """What one rank computes of a global batch."""

    loss: float
    """Sum over unmasked tokens / number of unmasked tokens."""
    num_tokens: int
    gradients: Tensors
    """Of the loss, not clipped."""

    @property
    def grad_norm(self) -> float:
        """Norm of the whole gradient."""
        return math.sqrt(sum(float(gradient.square().sum()) for gradient in self.gradients.values()))


@dataclass(frozen=True)
class _Document:
    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    loss_mask: NDArray[np.float32]


def reference_step(weights: Mapping[str, Tensor], batch: Batch, model: ModelConfig) -> ReferenceStep | None:
    """Loss and gradients of a global batch, dropout off; None where no token counts in the loss.

    weights: float64, the word embeddings cut to the true vocabulary.
    """
    leaves = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    documents = list(_documents(batch))
    num_tokens, total = sum(int(document.loss_mask.sum()) for document in documents), 0.0
    if num_tokens == 0:
        return None
    for document in documents:
        losses_S = F.cross_entropy(
            _logits(leaves, document.tokens, model), torch.from_numpy(document.labels), reduction="none"
        )
        part = (losses_S * torch.from_numpy(document.loss_mask)).sum() / num_tokens
        part.backward()
        total += part.item()
    gradients = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    return ReferenceStep(loss=total, num_tokens=num_tokens, gradients=gradients)


class ReferenceAdamW:
    """AdamW over the whole model after clipping: fields weights, exp_avg and exp_avg_sq, by name."""

    def __init__(self, weights: Tensors, config: OptimizerConfig) -> None:
        self.weights = dict(weights)
        self.exp_avg = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.exp_avg_sq = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self._config = config
        self._num_updates = 0

    def clip_scale(self, step: ReferenceStep) -> float:
        """What clipping multiplies a gradient with; 1e-6 is megatron-core's guard against a norm of 0."""
        return min(1.0, self._config.clip_grad / (step.grad_norm + 1e-6))

    def update(self, step: ReferenceStep, *, learning_rate: float) -> None:
        """One update, in place of the fields' entries. Matrices and embeddings decay, vectors do not."""
        config = self._config
        self._num_updates += 1
        scale = self.clip_scale(step)
        corrections = [1 - beta**self._num_updates for beta in (config.adam_beta1, config.adam_beta2)]
        for name, gradient in step.gradients.items():
            mean, square = self.exp_avg[name], self.exp_avg_sq[name]
            clipped = gradient * scale
            mean = config.adam_beta1 * mean + (1 - config.adam_beta1) * clipped
            square = config.adam_beta2 * square + (1 - config.adam_beta2) * clipped.square()
            move = (mean / corrections[0]) / ((square / corrections[1]).sqrt() + config.adam_eps)
            decay = config.weight_decay if gradient.dim() > 1 else 0.0
            self.weights[name] = self.weights[name] * (1 - learning_rate * decay) - learning_rate * move
            self.exp_avg[name], self.exp_avg_sq[name] = mean, square


def _documents(batch: Batch) -> Iterator[_Document]:
    """The documents of all rows, each up to the last position that counts in the loss: later ones are seen by none."""
    for row, tokens in enumerate(batch.tokens):
        ids = np.zeros(len(tokens), np.int64) if batch.document_ids is None else batch.document_ids[row]
        bounds = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
        for first, last in pairwise(bounds):
            counted = np.flatnonzero(batch.loss_mask[row, first:last])
            if ids[first] == PADDING_DOCUMENT or len(counted) == 0:
                continue
            own = tokens[first:last]
            labels = np.append(own[1:], batch.labels[row, last - 1])  # the last one's label is no token of the row
            stop = int(counted[-1]) + 1
            yield _Document(own[:stop], labels[:stop], batch.loss_mask[row, first : first + stop])


def _logits(weights: Mapping[str, Tensor], tokens: NDArray[np.int64], model: ModelConfig) -> Tensor:
    """[S, V] of one document."""
    embedding_VH = weights[_EMBEDDING]
    x_SH = embedding_VH[torch.from_numpy(tokens)] + weights[_POSITIONS][: len(tokens)]
    for layer, band_width in enumerate(model.attention_bands):
        name = f"decoder.layers.{layer}"
        normed_SH = _norm(weights, f"{name}.input_layernorm", x_SH, model)
        x_SH = x_SH + _attention(weights, f"{name}.self_attention", normed_SH, model.num_attention_heads, band_width)
        normed_SH = _norm(weights, f"{name}.pre_mlp_layernorm", x_SH, model)
        inner = F.gelu(_linear(weights, f"{name}.mlp.linear_fc1", normed_SH), approximate="tanh")
        x_SH = x_SH + _linear(weights, f"{name}.mlp.linear_fc2", inner)
    return _norm(weights, "decoder.final_layernorm", x_SH, model) @ embedding_VH.t()


def _attention(
    weights: Mapping[str, Tensor], name: str, x_SH: Tensor, num_heads: int, band_width: int | None
) -> Tensor:
    num_positions = len(x_SH)
    by_head = _linear(weights, f"{name}.linear_qkv", x_SH).view(num_positions, num_heads, 3, -1)
    q_ASD, k_ASD, v_ASD = by_head.permute(2, 1, 0, 3)
    distance_SS = torch.arange(num_positions)[:, None] - torch.arange(num_positions)
    seen_SS = (distance_SS >= 0) & (distance_SS < (band_width or num_positions))
    scores_ASS = q_ASD @ k_ASD.transpose(1, 2) / math.sqrt(q_ASD.shape[-1])
    attended_ASD = torch.softmax(scores_ASS.masked_fill(~seen_SS, -torch.inf), dim=-1) @ v_ASD
    return _linear(weights, f"{name}.linear_proj", attended_ASD.transpose(0, 1).flatten(1))


def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: Mapping[str, Tensor], name: str, x_SH: Tensor, model: ModelConfig) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return F.layer_norm(x_SH, (model.hidden_size,), weight, bias, model.layernorm_epsilon)
