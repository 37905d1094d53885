"""What each rank holds of a full tensor, brought together on rank 0.

In: the parts of weights, gradients or optimizer state on this rank, each with its place in the full tensor. Out, on
rank 0: all ranks' parts, and the full tensors that they make up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A rank's part of the full tensor of that name."""

    name: str
    """As in an unsharded model: decoder.layers.3.mlp.linear_fc1.weight, whatever stage and chunk holds it."""
    rank: int
    global_shape: tuple[int, ...]
    """Of the full tensor; the vocabulary's dimension is the padded one."""
    index: tuple[slice, ...]
    """The shard's place in the full tensor."""
    part: slice | None
    """What of the flattened shard this rank holds (distributed optimizer); None: all of it."""
    data: Tensor
    """On the CPU, in the shard's shape, or flat where `part` is given."""

    def of(self, full: Tensor) -> Tensor:
        """The same part of another full tensor of equal shape."""
        shard = full[self.index]
        return shard if self.part is None else shard.flatten()[self.part]

    def place(self, element: int) -> tuple[int, ...]:
        """Index in the full tensor of an element of the flattened data."""
        within = element + (self.part.start if self.part is not None else 0)
        shape = [range(*span.indices(size)) for span, size in zip(self.index, self.global_shape, strict=True)]
        place = []
        for places in reversed(shape):
            within, position = divmod(within, len(places))
            place.append(places[position])
        return tuple(reversed(place))


def gather_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """All ranks' pieces on rank 0, in the model's order, then the ranks'; nothing on the others. Collective."""
    gathered: list[list[Piece]] | None = [[]] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(list(pieces), gathered)
    return sorted((piece for held in gathered or () for piece in held), key=lambda piece: model_order(piece.name))


def model_order(name: str) -> tuple[int, int, str]:
    """Sorts parameter names as the forward pass meets them: embeddings, layers by number, the last layer norm."""
    layer = layer_of(name)
    return (0 if "embedding." in name else 2, 0, name) if layer is None else (1, layer, name)


def layer_of(name: str) -> int | None:
    """The number of the transformer layer, from 0, that a parameter belongs to."""
    _, found, after = name.partition("layers.")
    return int(after.split(".")[0]) if found else None


def full_tensors(pieces: Iterable[Piece]) -> dict[str, Tensor]:
    """The full tensors that the pieces make up, float64; where several ranks hold a copy, the first one's.

    Raises: AssertionError where no rank holds some element.
    """
    tensors: dict[str, Tensor] = {}
    held: dict[str, Tensor] = {}
    for piece in pieces:
        if piece.name not in tensors:
            tensors[piece.name] = torch.zeros(piece.global_shape, dtype=torch.float64)
            held[piece.name] = torch.zeros(piece.global_shape, dtype=torch.bool)
        fresh = ~piece.of(held[piece.name])
        _write(piece, tensors[piece.name], torch.where(fresh, piece.data.double(), piece.of(tensors[piece.name])))
        _write(piece, held[piece.name], torch.ones_like(fresh))
    for name, mask in held.items():
        assert bool(mask.all()), f"{name}: {int((~mask).sum())} of {mask.numel()} elements are on no rank"
    return tensors


def _write(piece: Piece, full: Tensor, values: Tensor) -> None:
    if piece.part is None:
        full[piece.index] = values
        return
    shard = full[piece.index]
    flat = shard.flatten()  # a copy where the shard is not contiguous
    flat[piece.part] = values
    full[piece.index] = flat.view(shard.shape)
