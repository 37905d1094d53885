"""Which part of which full tensor each parameter of this rank is: the key to everything that must not depend on the
layout (initial weights, checkpoints).

In: this rank's model chunks. Out: a Shard for each parameter, under the name the parameter has in an unsharded model
("decoder.layers.<global layer>. ..."). megatron-core's sharded state dict says all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
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

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of this rank's part. With ZeRO-3 the parameter itself is empty between steps."""
        return tuple(self.sharded.local_shape)

    @property
    def offset(self) -> tuple[int, ...]:
        """Where in the full tensor this rank's part begins."""
        return tuple(self.sharded.global_offset)

    @property
    def model_parallel_replica(self) -> tuple[int, int]:
        """Which copy of the part this is among pipeline stages (tied embeddings) and tensor-parallel ranks; (0, 0):
        the first."""
        pipeline, tensor, _ = self.sharded.replica_id
        return pipeline, tensor

    @property
    def data_parallel_replica(self) -> int:
        """This rank among the data-parallel ranks, which all hold the part."""
        return int(self.sharded.replica_id[2])

    def cut(self, full: Tensor) -> Tensor:
        """This rank's part of the full tensor, as a view."""
        return full[self.sharded.global_slice()]


@dataclass(frozen=True)
class Rectangle:
    """A block of a tensor whose numbers lie one after the other in its flat form, from `begin` to `end`."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]
    begin: int
    end: int


def rectangles(shape: tuple[int, ...], begin: int, end: int) -> list[Rectangle]:
    """The flat range [begin, end) of a tensor as rectangles, in order: the end of a row, whole rows, a row's beginning.

    >>> [(r.offset, r.shape) for r in rectangles((4, 3), 2, 10)]
    [((0, 2), (1, 1)), ((1, 0), (2, 3)), ((3, 0), (1, 1))]
    """
    if begin >= end:
        return []
    if len(shape) == 1:
        return [Rectangle((begin,), (end - begin,), begin, end)]
    row = prod(shape[1:])
    first, last = -(-begin // row), end // row
    if first > last:  # inside one row
        return _within_row(shape, begin // row, begin, end)
    found = _within_row(shape, first - 1, begin, first * row)
    if first < last:
        offset = (first, *[0] * (len(shape) - 1))
        found.append(Rectangle(offset, (last - first, *shape[1:]), first * row, last * row))
    return found + _within_row(shape, last, last * row, end)


def _within_row(shape: tuple[int, ...], index: int, begin: int, end: int) -> list[Rectangle]:
    start = index * prod(shape[1:])
    return [
        Rectangle((index, *r.offset), (1, *r.shape), r.begin + start, r.end + start)
        for r in rectangles(shape[1:], begin - start, end - start)
    ]


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
