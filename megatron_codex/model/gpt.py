"""The GPT as megatron-core modules: one model chunk for each of this rank's pipeline chunks.

Two sizes of the vocabulary are kept apart: the true one, and the padded one that tensor-parallel ranks share evenly.
Logits of padding are left out of the softmax, so padding has no probability, no gradient, and weights that stay zero.

Shapes: B samples, S positions.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.model.attention import require_backend
from megatron_codex.model.head import head_loss
from megatron_codex.model.layers import block_spec
from megatron_codex.model.transformer_config import transformer_config
from megatron_codex.ops.choice import operations
from megatron_codex.ops.cross_entropy import CrossEntropy
from megatron_codex.platform.megatron_core import GPTModel, get_num_layers_to_build, parallel_state

VOCAB_SIZE_MULTIPLE = 128
"""The vocabulary is padded to a multiple of this for each tensor-parallel rank (Megatron-LM's own choice: matrix
products are fastest at round sizes)."""


def padded_vocab_size(vocab_size: int, *, tensor_model_parallel_size: int) -> int:
    """Rows of the token embedding over all tensor-parallel ranks."""
    multiple = VOCAB_SIZE_MULTIPLE * tensor_model_parallel_size
    return -(-vocab_size // multiple) * multiple


class GPT(GPTModel):
    """megatron-core's GPTModel that knows its true vocabulary size."""

    def __init__(self, *args: Any, true_vocab_size: int, cross_entropy: CrossEntropy, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.true_vocab_size = true_vocab_size
        self.cross_entropy = cross_entropy

    def _postprocess(
        self, hidden_states: Tensor, *args: Any, labels: Tensor | None, loss_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        """With labels [B, S], the loss of each position that loss_mask counts, [B, S]; else as megatron-core does."""
        if not self.post_process or labels is None:
            return super()._postprocess(hidden_states, *args, labels=labels, loss_mask=loss_mask, **kwargs)
        for hook in self.output_layer._forward_pre_hooks.values():
            hook(self.output_layer, ())  # DistributedDataParallel waits there until the weight is gathered
        return head_loss(
            hidden_states,
            self.shared_embedding_or_output_weight(),
            labels_BS=labels,
            loss_mask_BS=loss_mask,
            true_vocab_size=self.true_vocab_size,
            sequence_parallel=self.config.sequence_parallel,
            tp_group=self.tp_group,
            cross_entropy=self.cross_entropy,
        )


def build_chunks(
    model: ModelConfig, parallel: ParallelConfig, *, vocab_size: int, precision: str = "fp32"
) -> list[GPT]:
    """This rank's model chunks, weights not yet set. vocab_size: the true one. Needs megatron-core's process groups.

    Raises: InputError where this machine cannot run model.attention_backend, kernels, transformer_impl or
    layer_norm_backend.
    """
    require_backend(model.attention_backend)
    chosen = operations(model.kernels)
    config = transformer_config(model, parallel, precision=precision)
    padded = padded_vocab_size(vocab_size, tensor_model_parallel_size=parallel.tensor_model_parallel_size)
    chunks = []
    for chunk in range(parallel.num_chunks):
        stage = chunk if parallel.interleaved else None
        chunks.append(
            GPT(
                config,
                block_spec(get_num_layers_to_build(config, stage), model=model, operations=chosen),
                vocab_size=padded,
                true_vocab_size=vocab_size,
                cross_entropy=chosen.cross_entropy,
                max_sequence_length=model.seq_length,
                pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=stage),
                post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=stage),
                share_embeddings_and_output_weights=True,
                position_embedding_type="learned_absolute",
                vp_stage=stage,
            )
        )
    return chunks
