"""The one layer specification, on CPU and GPU: megatron-core's parallel linear layers, our norm and attention."""

from __future__ import annotations

from megatron_codex.model.attention import CausalAttention
from megatron_codex.model.layer_norm import LayerNorm
from megatron_codex.platform.megatron_core import (
    MLP,
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


def block_spec(num_layers: int, *, attention_backend: str) -> TransformerBlockSubmodules:
    """The layers of one model chunk, pre-norm. attention_backend: as in ModelConfig.

    Unlike megatron-core's local spec, a checkpoint's keys are the modules' names: no layer norm is filed under the
    matrix that follows it.
    """
    layer = ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=LayerNorm,
            self_attention=ModuleSpec(
                module=SelfAttention,
                params={"attn_mask_type": AttnMaskType.causal},
                submodules=SelfAttentionSubmodules(
                    linear_qkv=ColumnParallelLinear,
                    core_attention=ModuleSpec(module=CausalAttention, params={"backend": attention_backend}),
                    linear_proj=RowParallelLinear,
                ),
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=LayerNorm,
            mlp=ModuleSpec(
                module=MLP, submodules=MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
            ),
            mlp_bda=get_bias_dropout_add,
        ),
    )
    return TransformerBlockSubmodules(layer_specs=[layer] * num_layers, layer_norm=LayerNorm)
