"""Temperature and top-p (nucleus) sampling, exact and without sorting the vocabulary. Paper section 2.2: top-p 0.95.

In: logits. Out: tokens and their log p under the model itself (temperature 1, no nucleus).

The nucleus is the smallest set of likeliest tokens whose mass reaches p (equally likely tokens are in it or out of it
together): a token is in it exactly when the tokens likelier than it weigh less than p. So a token is drawn from the
whole distribution and kept if it lies inside, else drawn again: the same distribution as sort-cut-renormalise, at the
price of one masked sum for the few rows that need it.

A row is looked at once, in blocks of columns (ops/rows.py: the largest and the sum of exponentials of each block): the
draw goes to a block first and then to a token in it, and only blocks that hold a likelier token are summed up again.

Shapes: N rows, V vocabulary, B blocks, K columns of a block, M pairs of a row and a block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from megatron_codex.ops.rows import row_statistics

Uniform = Callable[[int], npt.NDArray[np.float64]]
"""draw number -> one number in [0, 1) for each of the N rows."""

_DRAWS_BEFORE_SORT = 8
"""Rows still outside after so many draws (likely only for a small p) are drawn from the sorted nucleus."""

_BLOCK = 512
_DOUBT = 1e-5
"""Sums of exponentials are exact to less than this."""


def choose_tokens(logits_NV: Tensor, *, temperature: float, top_p: float, uniform: Uniform) -> tuple[Tensor, Tensor]:
    """Draw one token for each row; temperature 0 takes the likeliest (the lowest id among equals).

    Returns (tokens int64 [N], log p float32 [N]): log p is natural, of the untempered, uncut model distribution.
    """
    logits_NV = logits_NV.contiguous()
    if temperature == 0:
        tokens_N = logits_NV.argmax(dim=-1)
    else:
        tokens_N = _draw_from_nucleus(_Distribution(logits_NV, temperature), top_p, uniform)
    chosen_N = logits_NV.gather(1, tokens_N[:, None])[:, 0].float()
    largest_N, sums_N = row_statistics(logits_NV)
    return tokens_N, chosen_N - largest_N - sums_N.log()


class _Distribution:
    """The tempered distribution of each row, not normalised: the likeliest token weighs 1."""

    def __init__(self, logits_NV: Tensor, temperature: float) -> None:
        N, V = logits_NV.shape
        self.block = min(_BLOCK, V)
        num_blocks = -(-V // self.block)
        padded_NX = torch.empty(N, num_blocks * self.block, dtype=torch.float32, device=logits_NV.device)
        torch.div(logits_NV, temperature, out=padded_NX[:, :V])
        padded_NX[:, V:] = -torch.inf
        self.scaled_NBK = padded_NX.view(N, num_blocks, self.block)
        largest, sums = row_statistics(padded_NX.view(-1, self.block))
        self.largest_NB = largest.view(N, num_blocks)
        self.largest_N1 = self.largest_NB.amax(dim=1, keepdim=True)
        of_blocks_NB = sums.view(N, num_blocks).double() * (self.largest_NB - self.largest_N1).double().exp()
        # Nothing of a block of -inf can be drawn; its sum is no number.
        self.weights_NB = torch.where(self.largest_NB == -torch.inf, 0.0, of_blocks_NB)
        self.ends_NB = self.weights_NB.cumsum(dim=1)
        self.totals_N = self.ends_NB[:, -1]

    def scaled(self, rows_N: Tensor, tokens_N: Tensor) -> Tensor:
        """The tempered logits of these rows' tokens."""
        return self.scaled_NBK[rows_N, tokens_N // self.block, tokens_N % self.block]

    def draw(self, rows_N: Tensor, uniform_N: npt.NDArray[np.float64]) -> Tensor:
        """Invert the cumulative distribution of these rows; a token of probability 0 is never drawn."""
        targets_N = torch.from_numpy(uniform_N).to(self.ends_NB.device) * self.totals_N[rows_N]
        blocks_N, left_N = _invert(self.ends_NB[rows_N], targets_N)
        exponents_NK = (self.scaled_NBK[rows_N, blocks_N] - self.largest_N1[rows_N]).double()
        ends_NK = exponents_NK.exp().cumsum(dim=1)
        shares_N = left_N / self.weights_NB[rows_N, blocks_N]
        places_N, _ = _invert(ends_NK, shares_N * ends_NK[:, -1])
        return blocks_N * self.block + places_N

    def likelier(self, rows_N: Tensor, tokens_N: Tensor) -> Tensor:
        """What the tokens that are likelier than these rows' weigh together."""
        own_N1 = self.scaled(rows_N, tokens_N)[:, None]
        holding_NB = self.largest_NB[rows_N] > own_N1
        places_M, blocks_M = holding_NB.nonzero(as_tuple=True)
        scaled_MK = self.scaled_NBK[rows_N[places_M], blocks_M]
        weights_MK = (scaled_MK - self.largest_N1[rows_N[places_M]]).exp()
        sums_NB = torch.zeros(holding_NB.shape, dtype=torch.float64, device=holding_NB.device)
        sums_NB[places_M, blocks_M] = weights_MK.masked_fill_(scaled_MK <= own_N1[places_M], 0.0).sum(1).double()
        return sums_NB.sum(dim=1)


def _invert(ends_NX: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """The part of each row that the target falls into, and how far; parts without weight take none."""
    # u * total may round up to total itself, which no end exceeds.
    totals_N = ends_NX[:, -1]
    targets_N = torch.minimum(targets_N, torch.nextafter(totals_N, torch.zeros_like(totals_N)))
    parts_N1 = torch.searchsorted(ends_NX, targets_N[:, None], right=True)
    before_N = torch.where(parts_N1 > 0, ends_NX.gather(1, (parts_N1 - 1).clamp(min=0)), 0.0)[:, 0]
    return parts_N1[:, 0], targets_N - before_N


def _draw_from_nucleus(distribution: _Distribution, top_p: float, uniform: Uniform) -> Tensor:
    rows_N = torch.arange(len(distribution.totals_N), device=distribution.totals_N.device)
    tokens_N = distribution.draw(rows_N, uniform(0))
    if top_p == 1:
        return tokens_N
    weights_N = (distribution.scaled(rows_N, tokens_N) - distribution.largest_N1[:, 0]).double().exp()
    masses_N = distribution.totals_N * top_p
    # The likelier tokens weigh at most the total without this one: only a token of at most 1 - p can lie outside.
    outside = (weights_N <= distribution.totals_N - masses_N + _DOUBT * distribution.totals_N).nonzero()[:, 0]
    for draw in range(1, _DRAWS_BEFORE_SORT + 1):
        outside = outside[distribution.likelier(outside, tokens_N[outside]) >= masses_N[outside]]
        if outside.numel() == 0:
            return tokens_N
        if draw < _DRAWS_BEFORE_SORT:
            tokens_N[outside] = distribution.draw(outside, uniform(draw)[outside.cpu().numpy()])
    tokens_N[outside] = _draw_sorted(
        distribution, outside, masses_N[outside], uniform(_DRAWS_BEFORE_SORT)[outside.cpu().numpy()]
    )
    return tokens_N


def _draw_sorted(
    distribution: _Distribution, rows_N: Tensor, masses_N: Tensor, uniform_N: npt.NDArray[np.float64]
) -> Tensor:
    exponents_NV = distribution.scaled_NBK[rows_N].flatten(1) - distribution.largest_N1[rows_N]
    weights_NV = exponents_NV.double().exp()
    sorted_NV = weights_NV.sort(dim=-1, descending=True).values
    before_NV = sorted_NV.cumsum(dim=-1) - sorted_NV
    least_N1 = torch.where(before_NV < masses_N[:, None], sorted_NV, torch.inf).amin(dim=-1, keepdim=True)
    ends_NV = torch.where(weights_NV >= least_N1, weights_NV, 0.0).cumsum(dim=-1)
    return _invert(ends_NV, torch.from_numpy(uniform_N).to(ends_NV.device) * ends_NV[:, -1])[0]
