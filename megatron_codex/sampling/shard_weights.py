"""A rank's part of a checkpoint's weights, read as such: a model that fits no single device is never whole anywhere.

In: a step directory's tensors (of any layout). Out: the rank's tensors, fp32, under megatron-core's names: its stage's
layers, of these its heads and its columns of the MLP; its rows of the vocabulary on the first and the last stage.
"""

from __future__ import annotations

from torch import Tensor

from megatron_codex.config.model import ModelConfig
from megatron_codex.errors import InputError
from megatron_codex.model.checkpoint_tensors import CheckpointTensors
from megatron_codex.sampling.ranks import ModelRanks

EMBEDDING = "embedding.word_embeddings.weight"
POSITIONS = "embedding.position_embeddings.weight"
FINAL_NORM = "decoder.final_layernorm"

_SPLIT_ROWS = ("linear_qkv.weight", "linear_qkv.bias", "linear_fc1.weight", "linear_fc1.bias")
_SPLIT_COLUMNS = ("linear_proj.weight", "linear_fc2.weight")
_ADDED_ONCE = ("linear_proj.bias", "linear_fc2.bias")
"""The ranks' products are summed: one of them has the bias, the others zeros."""


def stage_layers(num_layers: int, ranks: ModelRanks) -> range:
    """The layers of this rank's stage; stages differ by one layer at most, the first ones have more."""
    fewest, longer = divmod(num_layers, ranks.pp_size)
    first = ranks.pp_rank * fewest + min(ranks.pp_rank, longer)
    return range(first, first + fewest + (ranks.pp_rank < longer))


def vocabulary_rows(vocab_size: int, ranks: ModelRanks) -> range:
    """Token ids whose embeddings this rank holds; the last ranks' may go beyond the vocabulary."""
    count = -(-vocab_size // ranks.tp_size)
    return range(ranks.tp_rank * count, (ranks.tp_rank + 1) * count)


def require_layout(model: ModelConfig, ranks: ModelRanks) -> None:
    """Raise InputError unless this many ranks can share the model."""
    for name, count in (("num_attention_heads", model.num_attention_heads), ("ffn_hidden_size", model.mlp_size)):
        if count % ranks.tp_size:
            rule, remedy = f"must divide the model's {name} = {count}", "give a divisor"
            where = "parallel.tensor_model_parallel_size"
            raise InputError(where, value=ranks.tp_size, rule=rule, remedy=remedy)
    if ranks.pp_size > model.num_layers:
        rule, remedy = f"must be at most the model's num_layers = {model.num_layers}", "give fewer stages"
        raise InputError("parallel.pipeline_model_parallel_size", value=ranks.pp_size, rule=rule, remedy=remedy)


def read_shard(
    stored: CheckpointTensors, model: ModelConfig, *, vocab_size: int, ranks: ModelRanks
) -> dict[str, Tensor]:
    """The rank's tensors. vocab_size: the true one. Memory: 4 bytes a parameter of the part.

    Raises: InputError when this many ranks cannot share the model, or the checkpoint is damaged.
    """
    require_layout(model, ranks)
    prefixes = [f"decoder.layers.{layer}." for layer in stage_layers(model.num_layers, ranks)]
    names = [name for name in stored.weight_names if name.startswith(tuple(prefixes))]
    if ranks.is_first_stage:
        names.append(POSITIONS)
    if ranks.is_last_stage:
        names += [f"{FINAL_NORM}.weight", f"{FINAL_NORM}.bias"]
    tensors = {name: _read(stored, name, ranks) for name in names}
    if ranks.is_first_stage or ranks.is_last_stage:
        rows = vocabulary_rows(vocab_size, ranks)
        width = stored.shape(EMBEDDING)[1]
        tensors[EMBEDDING] = stored.read_part(EMBEDDING, offset=(rows.start, 0), shape=(len(rows), width))
    return tensors


def _read(stored: CheckpointTensors, name: str, ranks: ModelRanks) -> Tensor:
    shape, offset = list(stored.shape(name)), [0] * len(stored.shape(name))
    if name.endswith(_SPLIT_ROWS + _SPLIT_COLUMNS):
        dim = 0 if name.endswith(_SPLIT_ROWS) else 1
        shape[dim] //= ranks.tp_size
        offset[dim] = ranks.tp_rank * shape[dim]
    tensor = stored.read_part(name, offset=tuple(offset), shape=tuple(shape))
    return tensor.zero_() if ranks.tp_rank and name.endswith(_ADDED_ONCE) else tensor
