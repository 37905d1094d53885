"""The names of megatron-core that this project uses, imported once the platform is prepared.

Every other module imports them from here: the order (platform first, megatron-core after) cannot be got wrong, and
raising the pinned version means reading one list.
"""

from __future__ import annotations

import logging
import warnings

import torch

from megatron_codex.platform.cpu import answer_cuda_calls, plain_fusions
from megatron_codex.platform.memory import keep_freed_memory

with warnings.catch_warnings(), plain_fusions():
    # At import it says of each optional library that it does without (Transformer Engine, Apex, ...): we use none.
    warnings.simplefilter("ignore")
    answer_cuda_calls()
    from megatron.core import optimizer, parallel_state
    from megatron.core.dist_checkpointing.mapping import ShardedTensor
    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        finalize_model_grads,
    )
    from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
    from megatron.core.models.gpt import GPTModel
    from megatron.core.optimizer import OptimizerConfig, clip_grads, distrib_optimizer, get_megatron_optimizer
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
    from megatron.core.pipeline_parallel import get_forward_backward_func, schedules
    from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
    from megatron.core.tensor_parallel.mappings import (
        copy_to_tensor_model_parallel_region,
        gather_from_sequence_parallel_region,
    )
    from megatron.core.tensor_parallel.random import get_cuda_rng_tracker, model_parallel_cuda_manual_seed
    from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
    from megatron.core.transformer.enums import AttnMaskType
    from megatron.core.transformer.mlp import MLP, MLPSubmodules
    from megatron.core.transformer.module import Float16Module, MegatronModule
    from megatron.core.transformer.spec_utils import ModuleSpec
    from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
    from megatron.core.transformer.transformer_config import TransformerConfig
    from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules
    from megatron.core.transformer.utils import is_layer_window_attention

# What the pinned versions say, on every rank, of calls that are megatron-core's to change and no user's.
for _message in (
    r"`torch\.distributed\.\w+` is deprecated",
    r"The \.grad attribute of a Tensor that is not a leaf",
):
    warnings.filterwarnings("ignore", message=_message)
if not torch.cuda.is_available():
    warnings.filterwarnings("ignore", message=r"When using .* CUDA_DEVICE_MAX_CONNECTIONS")

if not torch.cuda.is_available():
    keep_freed_memory()
    # It warns in each forward pass that "CPU RNG state changed within GPU RNG context": here they are one.
    logging.getLogger("megatron.core.tensor_parallel.random").setLevel(logging.ERROR)

__all__ = [
    "MLP",
    "AttnMaskType",
    "ColumnParallelLinear",
    "DistributedDataParallel",
    "DistributedDataParallelConfig",
    "DistributedOptimizer",
    "Float16Module",
    "GPTModel",
    "MLPSubmodules",
    "MegatronModule",
    "ModuleSpec",
    "OptimizerConfig",
    "RowParallelLinear",
    "SelfAttention",
    "SelfAttentionSubmodules",
    "ShardedTensor",
    "TransformerBlockSubmodules",
    "TransformerConfig",
    "TransformerLayer",
    "TransformerLayerSubmodules",
    "clip_grads",
    "copy_to_tensor_model_parallel_region",
    "distrib_optimizer",
    "finalize_model_grads",
    "gather_from_sequence_parallel_region",
    "get_bias_dropout_add",
    "get_cuda_rng_tracker",
    "get_forward_backward_func",
    "get_megatron_optimizer",
    "get_num_layers_to_build",
    "is_layer_window_attention",
    "model_parallel_cuda_manual_seed",
    "optimizer",
    "parallel_state",
    "schedules",
]
