"""ModelConfig and ParallelConfig to megatron-core's TransformerConfig."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from megatron_codex.config.model import ModelConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.ops.choice import operations
from megatron_codex.platform.megatron_core import TransformerConfig

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective"},
    "full": {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
}


def transformer_config(model: ModelConfig, parallel: ParallelConfig, *, precision: str = "fp32") -> TransformerConfig:
    """megatron-core's configuration of this model in this layout. precision: "fp32" or "bf16"."""
    dtype = DTYPES[precision]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own defaults are deprecated by its own rules (cuda_graph_scope)
        return TransformerConfig(
            num_layers=model.num_layers,
            hidden_size=model.hidden_size,
            num_attention_heads=model.num_attention_heads,
            ffn_hidden_size=model.mlp_size,
            hidden_dropout=model.hidden_dropout,
            attention_dropout=model.attention_dropout,
            layernorm_epsilon=model.layernorm_epsilon,
            # megatron-core's names for attention_bands: keys before and after one's own, and which layers are banded.
            window_size=None if model.band_width is None else (model.band_width - 1, 0),
            window_attn_skip_freq=[int(band is not None) for band in model.attention_bands],
            activation_func=operations(model.kernels).bias_gelu,
            # The weights come from model/initialization.py: megatron-core's own depend on the layout.
            use_cpu_initialization=not torch.cuda.is_available(),
            init_method=_leave_alone,
            output_layer_init_method=_leave_alone,
            params_dtype=dtype,
            pipeline_dtype=dtype,
            bf16=dtype is torch.bfloat16,
            tensor_model_parallel_size=parallel.tensor_model_parallel_size,
            pipeline_model_parallel_size=parallel.pipeline_model_parallel_size,
            virtual_pipeline_model_parallel_size=parallel.num_chunks if parallel.interleaved else None,
            num_layers_in_first_pipeline_stage=parallel.num_layers_in_first_pipeline_stage,
            num_layers_in_last_pipeline_stage=parallel.num_layers_in_last_pipeline_stage,
            sequence_parallel=parallel.sequence_parallel,
            # A sum over tokens, not a mean of means: training/loss.py divides by the global batch's tokens.
            calculate_per_token_loss=True,
            # Overlapped sends while outputs are freed corrupt activations, and batched sends in the interleaved
            # schedule gave wrong losses (both silently, on gloo, in 0.16.1). So: interleaved overlaps and frees
            # nothing, plain 1F1B sends in order and frees what was sent.
            overlap_p2p_comm=parallel.interleaved,
            deallocate_pipeline_outputs=not parallel.interleaved,
            batch_p2p_comm=False,
            variable_seq_lengths=False,
            # The fusions are CUDA kernels or torch.compile wrappers.
            bias_activation_fusion=False,
            bias_dropout_fusion=False,
            masked_softmax_fusion=False,
            gradient_accumulation_fusion=False,
            **_RECOMPUTE[parallel.recompute],
        )


def _leave_alone(weight: torch.Tensor) -> torch.Tensor:
    return weight
