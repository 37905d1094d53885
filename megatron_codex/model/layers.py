"""The one layer specification, on CPU and GPU: megatron-core's parallel linear layers, our norm, attention and MLP.

In: the model's configuration and its operations. Out: what megatron-core builds layers from. With transformer_impl =
transformer_engine linear layers and norms are Transformer Engine's; the modules' names, and so the checkpoints, are the
same. Attention stays ours: it knows bands and documents.
"""

from __future__ import annotations

from typing import Any

from megatron_codex.config.model import ModelConfig
from megatron_codex.model.attention import CausalAttention
from megatron_codex.model.layer_norm import LayerNorm
from megatron_codex.model.mlp import mlp_class
from megatron_codex.ops.choice import Operations
from megatron_codex.platform import apex, transformer_engine
from megatron_codex.platform.megatron_core import (
    AttnMaskType,
    ColumnParallelLinear,
    MLPSubmodules,
    ModuleSpec,
    RowParallelLinear,
    SelfAttention,
    SelfAttentionSubmodules,
    TransformerBlockSubmodules,
    TransformerLayer,
    TransformerLayerSubmodules,
    get_bias_dropout_add,
)


def block_spec(num_layers: int, *, model: ModelConfig, operations: Operations) -> TransformerBlockSubmodules:
    """The layers of one model chunk, pre-norm.

    Unlike megatron-core's local spec, a checkpoint's keys are the modules' names: no layer norm is filed under the
    matrix that follows it.

    Raises: InputError where Transformer Engine or Apex is asked for and cannot be used here.
    """
    column_linear, row_linear, norm = layer_parts(model, operations)
    attention = {"backend": model.attention_backend, "own": operations.own_attention}
    layer = ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=ModuleSpec(
                module=SelfAttention,
                params={"attn_mask_type": AttnMaskType.causal},
                submodules=SelfAttentionSubmodules(
                    linear_qkv=column_linear,
                    core_attention=ModuleSpec(module=CausalAttention, params=attention),
                    linear_proj=row_linear,
                ),
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=norm,
            mlp=mlp_class(MLPSubmodules(linear_fc1=column_linear, linear_fc2=row_linear), operations.bias_gelu),
            mlp_bda=get_bias_dropout_add,
        ),
    )
    return TransformerBlockSubmodules(layer_specs=[layer] * num_layers, layer_norm=norm)


def layer_parts(model: ModelConfig, operations: Operations) -> tuple[Any, Any, Any]:
    """(column-parallel linear layer, row-parallel linear layer, norm) of the configuration's choice."""
    if model.transformer_impl == "transformer_engine":
        return transformer_engine.layers("model.transformer_impl")
    normalise = operations.layer_norm
    if model.layer_norm_backend == "apex":
        normalise = apex.layer_norm("model.layer_norm_backend")
    return ColumnParallelLinear, RowParallelLinear, ModuleSpec(module=LayerNorm, params={"normalise": normalise})
