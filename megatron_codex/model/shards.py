"""Which part of which full tensor each parameter of this rank is: the key to everything that must not depend on the
layout (initial weights, checkpoints).

In: this rank's model chunks. Out: a Shard for each parameter, under the name the parameter has in an unsharded model
("decoder.layers.<global layer>. ..."). megatron-core's sharded state dict says all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from megatron_codex.platform.megatron_core import GPTModel, ShardedTensor

_METADATA = {"non_homogeneous_layers": True}
"""One tensor a layer; megatron-core would otherwise stack all layers into one tensor of the checkpoint."""


@dataclass(frozen=True)
class Shard:
    """A parameter and its place in the full tensor of that name."""

    name: str
    parameter: Parameter
    sharded: ShardedTensor
    """megatron-core's description: global shape, offset, replica."""

    @property
    def global_shape(self) -> tuple[int, ...]:
        """Shape of the full tensor; the vocabulary's dimension is the padded one."""
        return tuple(self.sharded.global_shape)

    def cut(self, full: Tensor) -> Tensor:
        """This rank's part of the full tensor, as a view."""
        return full[self.sharded.global_slice()]

    def described(self, key: str, data: Tensor) -> ShardedTensor:
        """The same part of another full tensor of equal shape, held in `data`: the optimizer's state, for instance."""
        return replace(self.sharded, key=key, data=data, dtype=data.dtype)


def parameter_shards(chunks: Sequence[GPTModel]) -> list[Shard]:
    """A shard for each parameter of this rank's chunks. The tied output layer has the embedding's name."""
    shards = [Shard(st.key, st.data, st) for chunk in chunks for st in _sharded_tensors(chunk)]
    described = {id(shard.parameter) for shard in shards}
    for chunk in chunks:
        for name, parameter in chunk.named_parameters():
            assert id(parameter) in described, f"{name} has no description: it would be neither initialised nor saved"
    return shards


def _sharded_tensors(chunk: GPTModel) -> Iterator[Any]:
    for value in chunk.sharded_state_dict(metadata=dict(_METADATA)).values():
        if isinstance(value, ShardedTensor) and isinstance(value.data, torch.nn.Parameter):
            yield value
