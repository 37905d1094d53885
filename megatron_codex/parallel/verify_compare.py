"""Layout against one rank: tensor by tensor, with the first difference named.

In: pieces of all ranks and the full tensors of one rank. Out: a Check for each quantity, with its largest difference
and, where the tolerance is broken, the first tensor that breaks it, in the order of the forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from megatron_codex.parallel.verify_pieces import Piece, full_tensors, layer_of


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One tensor's largest difference from one rank's."""

    what: str
    """Quantity and step: "gradient, step 1"."""
    name: str
    """Of the tensor in an unsharded model, or of the number ("loss")."""
    rank: int | None
    """The rank that holds it; None for numbers that all ranks share."""
    place: tuple[int, ...]
    """Index of the element in the full tensor."""
    got: float
    expected: float
    relative: float
    """Size of the difference, in the unit of `tolerance`."""
    tolerance: float
    other: str = "one rank"
    """What it is compared with."""

    def __str__(self) -> str:
        layer = layer_of(self.name)
        where = self.name if layer is None else f"{self.name} (layer {layer})"
        where += f"[{', '.join(map(str, self.place))}]" if self.place else ""
        where += "" if self.rank is None else f" on rank {self.rank}"
        return (
            f"{self.what}: {where} is {self.got:.9g}, {self.other} has {self.expected:.9g}: "
            f"difference {self.relative:.2g}, tolerance {self.tolerance:.2g}"
        )


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the table."""

    what: str
    largest: float
    """Largest difference, in the unit of `tolerance`."""
    tolerance: float
    at: str
    """The tensor with the largest difference."""
    first: Difference | None = None
    """The first difference beyond the tolerance; None: all is within it."""


def check_number(what: str, *, got: float | None, expected: float | None, tolerance: float, relative: bool) -> Check:
    """Compare a number that every rank knows; None stands for a step without a token."""
    if got is None or expected is None:
        size = 0.0 if got is expected else float("inf")
        got, expected = (float("nan") if number is None else number for number in (got, expected))
    else:
        size = abs(got - expected) / (abs(expected) if relative else 1.0) if got != expected else 0.0
    first = None
    if not size <= tolerance:  # NaN is no agreement
        name = what.partition(",")[0]
        first = Difference(
            what=what, name=name, rank=None, place=(), got=got, expected=expected, relative=size, tolerance=tolerance
        )
    return Check(what=what, largest=size, tolerance=tolerance, at="", first=first)


def check_tensors(
    what: str,
    pieces: Sequence[Piece],
    reference: Mapping[str, Tensor],
    *,
    tolerance: float,
    unit: Callable[[str, Tensor], Tensor | float] | None = None,
    other: str = "one rank",
) -> Check:
    """Compare every piece, copies included, with one rank's full tensors.

    reference: without rows of vocabulary padding, which must be 0. unit: what a difference of a tensor is divided by, a
    number or full tensor; by default the largest absolute value of one rank's tensor. other: what the reference is.
    """
    worst: Difference | None = None
    first: Difference | None = None
    names = {piece.name for piece in pieces}
    assert names == set(reference), (
        f"{what}: one rank only has {set(reference) - names}, ranks {names - set(reference)}"
    )
    full_tensors(pieces)  # asserts that nothing is missing
    for piece in pieces:
        found = _largest_difference(what, piece, reference[piece.name], tolerance, unit)
        if found is None:
            continue
        if worst is None or not found.relative <= worst.relative:
            worst = found
        if first is None and not found.relative <= tolerance:
            first = replace(found, other=other)
    largest = 0.0 if worst is None else worst.relative
    return Check(
        what=what, largest=largest, tolerance=tolerance, at=worst.name if worst and largest else "", first=first
    )


def check_copies(what: str, pieces: Sequence[Piece]) -> Check:
    """Whether all ranks that hold the same part of a tensor hold the same bits: tied embeddings, replicas."""
    check = check_tensors(what, pieces, full_tensors(pieces), tolerance=0.0, other="another rank")
    num_tensors, num_ranks = len({piece.name for piece in pieces}), len({piece.rank for piece in pieces})
    at = check.at if check.first else f"{num_tensors} tensors on {num_ranks} rank{'s' if num_ranks > 1 else ''}"
    return Check(what=what, largest=check.largest, tolerance=0.0, at=at, first=check.first)


def _largest_difference(
    what: str, piece: Piece, reference: Tensor, tolerance: float, unit: Callable[[str, Tensor], Tensor | float] | None
) -> Difference | None:
    if piece.data.numel() == 0:
        return None
    full = with_padding(reference, piece.global_shape)
    divisor = float(full.abs().max()) if unit is None else unit(piece.name, full)
    expected = piece.of(full).flatten()
    got = piece.data.double().flatten()
    sizes = (got - expected).abs() / (piece.of(divisor).flatten() if isinstance(divisor, Tensor) else divisor)
    sizes = torch.where(got == expected, 0.0, sizes.nan_to_num(torch.inf, posinf=torch.inf))
    worst = int(sizes.argmax())
    return Difference(
        what=what,
        name=piece.name,
        rank=piece.rank,
        place=piece.place(worst),
        got=float(got[worst]),
        expected=float(expected[worst]),
        relative=float(sizes[worst]),
        tolerance=tolerance,
    )


def with_padding(reference: Tensor, shape: tuple[int, ...], *, fill: float = 0.0) -> Tensor:
    """A full tensor with rows of vocabulary padding, of this value, up to `shape`."""
    if reference.shape == shape:
        return reference
    full = torch.full(shape, fill, dtype=reference.dtype)
    full[: len(reference)] = reference
    return full
