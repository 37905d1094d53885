"""The GPT as megatron-core modules: one model chunk for each of this rank's pipeline chunks.

Two sizes of the vocabulary are kept apart: the true one, and the padded one that tensor-parallel ranks share evenly.
Logits of padding are -inf before the softmax, so padding has no probability, no gradient, and weights that stay zero.

Shapes: B samples, S positions, V columns of the vocabulary on this tensor-parallel rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.model.attention import require_backend
from megatron_codex.model.layers import block_spec
from megatron_codex.model.transformer_config import transformer_config
from megatron_codex.platform.megatron_core import GPTModel, get_num_layers_to_build, parallel_state

VOCAB_SIZE_MULTIPLE = 128
"""The vocabulary is padded to a multiple of this for each tensor-parallel rank (Megatron-LM's own choice: matrix
products are fastest at round sizes)."""


def padded_vocab_size(vocab_size: int, *, tensor_model_parallel_size: int) -> int:
    """Rows of the token embedding over all tensor-parallel ranks."""
    multiple = VOCAB_SIZE_MULTIPLE * tensor_model_parallel_size
    return -(-vocab_size // multiple) * multiple


class _MinusInfinityFrom(torch.autograd.Function):
    """Set the columns from `first` on to -inf, in place: a copy of the logits would cost more than the loss itself."""

    @staticmethod
    def forward(ctx: Any, logits_SBV: Tensor, first: int) -> Tensor:
        ctx.mark_dirty(logits_SBV)
        logits_SBV[..., first:] = -torch.inf
        return logits_SBV

    @staticmethod
    def backward(ctx: Any, grad_SBV: Tensor) -> tuple[Tensor, None]:
        return grad_SBV, None  # softmax gives these columns probability 0, and with it gradient 0, already


class GPT(GPTModel):
    """megatron-core's GPTModel that knows its true vocabulary size."""

    def __init__(self, *args: Any, true_vocab_size: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.true_vocab_size = true_vocab_size

    def compute_language_model_loss(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Loss of each position, [B, S], from labels [B, S] and this rank's logits [S, B, V]."""
        columns = logits.shape[-1]
        true_columns = self.true_vocab_size - columns * self.tp_group.rank()
        if true_columns < columns:
            logits = _MinusInfinityFrom.apply(logits, max(0, true_columns))
        return super().compute_language_model_loss(labels, logits)


def build_chunks(
    model: ModelConfig, parallel: ParallelConfig, *, vocab_size: int, precision: str = "fp32"
) -> list[GPT]:
    """This rank's model chunks, weights not yet set. vocab_size: the true one. Needs megatron-core's process groups.

    Raises: InputError where model.attention_backend cannot run on this machine.
    """
    require_backend(model.attention_backend)
    config = transformer_config(model, parallel, precision=precision)
    padded = padded_vocab_size(vocab_size, tensor_model_parallel_size=parallel.tensor_model_parallel_size)
    chunks = []
    for chunk in range(parallel.num_chunks):
        stage = chunk if parallel.interleaved else None
        chunks.append(
            GPT(
                config,
                block_spec(get_num_layers_to_build(config, stage), attention_backend=model.attention_backend),
                vocab_size=padded,
                true_vocab_size=vocab_size,
                max_sequence_length=model.seq_length,
                pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=stage),
                post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=stage),
                share_embeddings_and_output_weights=True,
                position_embedding_type="learned_absolute",
                vp_stage=stage,
            )
        )
    return chunks
