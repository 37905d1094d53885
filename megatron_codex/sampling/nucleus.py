"""Temperature and top-p (nucleus) sampling, exact and without sorting the vocabulary. Paper section 2.2: top-p 0.95.

In: logits. Out: tokens and their log p under the model itself (temperature 1, no nucleus).

The nucleus is the smallest set of likeliest tokens whose mass reaches p (equally likely tokens are in it or out of it
together): a token is in it exactly when the tokens likelier than it weigh less than p. So a token is drawn from the
whole distribution and kept if it lies inside, else drawn again: the same distribution as sort-cut-renormalise, at the
price of one masked sum for the few rows that need it.

A row's logits are read once, in blocks of columns (ops/rows.py: the largest and the sums of exponentials of each block,
at temperature 1 and at the one drawn at): the draw goes to a block first and then to a token in it, and only blocks
that hold a likelier token are summed up again.

Shapes: N rows, V vocabulary, B blocks, K columns of a block, M pairs of a row and a block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from megatron_codex.ops.choice import BlockStatistics
from megatron_codex.ops.rows import block_statistics

Uniform = Callable[[int], npt.NDArray[np.float64]]
"""draw number -> one number in [0, 1) for each of the N rows."""

_DRAWS_BEFORE_SORT = 8
"""Rows still outside after so many draws (likely only for a small p) are drawn from the sorted nucleus."""

_BLOCK = 512
_DOUBT = 1e-5
"""Sums of exponentials are exact to less than this."""


def choose_tokens(
    logits_NV: Tensor,
    *,
    temperature: float,
    top_p: float,
    uniform: Uniform,
    statistics: BlockStatistics = block_statistics,
) -> tuple[Tensor, Tensor]:
    """Draw one token for each row; temperature 0 takes the likeliest (the lowest id among equals).

    Returns (tokens int64 [N], log p float32 [N]): log p is natural, of the untempered, uncut model distribution.
    """
    distribution = _Distribution(logits_NV.contiguous(), temperature or 1.0, statistics)
    if temperature == 0:
        tokens_N = logits_NV.argmax(dim=-1)
    else:
        tokens_N = _draw_from_nucleus(distribution, top_p, uniform)
    return tokens_N, distribution.logps(tokens_N)


class _Distribution:
    """The tempered distribution of each row, not normalised: the likeliest token weighs 1."""

    def __init__(self, logits_NV: Tensor, temperature: float, statistics: BlockStatistics) -> None:
        self._logits_NV = logits_NV
        self._temperature = temperature
        self._block = min(_BLOCK, logits_NV.shape[1])
        num_whole = logits_NV.shape[1] // self._block
        self._whole_NBK = logits_NV[:, : num_whole * self._block].view(-1, num_whole, self._block)
        self._rest_NK = logits_NV[:, num_whole * self._block :]
        largest_NB, sums_NB, tempered_NB = statistics(logits_NV, block_size=self._block, scale=1 / temperature)
        self._largest_NB = largest_NB
        self.largest_N1 = largest_NB.amax(dim=1, keepdim=True)
        below_NB = (largest_NB - self.largest_N1).double()
        # Nothing of a block of -inf can be drawn; its sum is no number.
        empty_NB = largest_NB == -torch.inf
        self._plain_N = (sums_NB * below_NB.exp()).masked_fill(empty_NB, 0.0).sum(dim=1)
        self._weights_NB = (tempered_NB * (below_NB / temperature).exp()).masked_fill(empty_NB, 0.0)
        self._ends_NB = self._weights_NB.cumsum(dim=1)
        self.totals_N = self._ends_NB[:, -1]

    def logps(self, tokens_N: Tensor) -> Tensor:
        """log p of one token of each row, at temperature 1."""
        chosen_N = self._logits_NV.gather(1, tokens_N[:, None])[:, 0].float()
        return chosen_N - self.largest_N1[:, 0] - self._plain_N.log().float()

    def weights(self, rows_N: Tensor, logits_NX: Tensor) -> Tensor:
        """What tokens with these logits weigh: fp64."""
        return ((logits_NX.float() - self.largest_N1[rows_N]).double() / self._temperature).exp()

    def weights_of(self, rows_N: Tensor, tokens_N: Tensor) -> Tensor:
        """What one token of each of these rows weighs."""
        return self.weights(rows_N, self._logits_NV[rows_N, tokens_N][:, None])[:, 0]

    def all_weights(self, rows_N: Tensor) -> Tensor:
        """What every token of these rows weighs: [N, V]."""
        return self.weights(rows_N, self._logits_NV[rows_N])

    def draw(self, rows_N: Tensor, uniform_N: npt.NDArray[np.float64]) -> Tensor:
        """Invert the cumulative distribution of these rows; a token of probability 0 is never drawn."""
        targets_N = torch.from_numpy(uniform_N).to(self._ends_NB.device) * self.totals_N[rows_N]
        blocks_N, left_N = _invert(self._ends_NB[rows_N], targets_N)
        ends_NK = self.weights(rows_N, self._of_blocks(rows_N, blocks_N)).cumsum(dim=1)
        shares_N = left_N / self._weights_NB[rows_N, blocks_N]
        places_N, _ = _invert(ends_NK, shares_N * ends_NK[:, -1])
        return blocks_N * self._block + places_N

    def likelier(self, rows_N: Tensor, tokens_N: Tensor) -> Tensor:
        """What the tokens that are likelier than these rows' weigh together."""
        own_N1 = self._logits_NV[rows_N, tokens_N][:, None].float()
        holding_NB = self._largest_NB[rows_N] > own_N1
        places_M, blocks_M = holding_NB.nonzero(as_tuple=True)
        logits_MK = self._of_blocks(rows_N[places_M], blocks_M)
        # fp32: exact to less than _DOUBT, and most of a redraw's time.
        exponents_MK = (logits_MK - self.largest_N1[rows_N[places_M]]).mul_(1 / self._temperature)
        weights_MK = exponents_MK.exp_().masked_fill_(logits_MK <= own_N1[places_M], 0.0)
        sums_NB = torch.zeros(holding_NB.shape, dtype=torch.float64, device=holding_NB.device)
        sums_NB[places_M, blocks_M] = weights_MK.sum(1).double()
        return sums_NB.sum(dim=1)

    def _of_blocks(self, rows_M: Tensor, blocks_M: Tensor) -> Tensor:
        """[M, K] fp32: the logits of one block of each of these rows, -inf beyond the vocabulary."""
        last = self._whole_NBK.shape[1] - 1
        logits_MK = self._whole_NBK[rows_M, blocks_M.clamp(max=last)].float()
        if rest := self._rest_NK.shape[1]:
            of_rest = (blocks_M > last).nonzero()[:, 0]
            logits_MK[of_rest, :rest] = self._rest_NK[rows_M[of_rest]].float()
            logits_MK[of_rest, rest:] = -torch.inf
        return logits_MK


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
    weights_N = distribution.weights_of(rows_N, tokens_N)
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
    weights_NV = distribution.all_weights(rows_N)
    sorted_NV = weights_NV.sort(dim=-1, descending=True).values
    before_NV = sorted_NV.cumsum(dim=-1) - sorted_NV
    least_N1 = torch.where(before_NV < masses_N[:, None], sorted_NV, torch.inf).amin(dim=-1, keepdim=True)
    ends_NV = torch.where(weights_NV >= least_N1, weights_NV, 0.0).cumsum(dim=-1)
    return _invert(ends_NV, torch.from_numpy(uniform_N).to(ends_NV.device) * ends_NV[:, -1])[0]
