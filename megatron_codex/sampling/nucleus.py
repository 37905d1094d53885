"""Temperature and top-p (nucleus) sampling, exact and without sorting the vocabulary. Paper section 2.2: top-p 0.95.

In: logits. Out: tokens and their log p under the model itself (temperature 1, no nucleus).

The nucleus is the smallest set of likeliest tokens whose mass reaches p (equally likely tokens are in it or out of it
together): a token is in it exactly when the tokens likelier than it weigh less than p. So a token is drawn from the
whole distribution and kept if it lies inside, else drawn again: the same distribution as sort-cut-renormalise, at the
price of one masked sum for the few rows that need it.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Uniform = Callable[[int], npt.NDArray[np.float64]]
"""draw number -> one number in [0, 1) for each of the N rows."""

_DRAWS_BEFORE_SORT = 8
"""Rows still outside after so many draws (likely only for a small p) are drawn from the sorted nucleus."""


def choose_tokens(logits_NV: Tensor, *, temperature: float, top_p: float, uniform: Uniform) -> tuple[Tensor, Tensor]:
    """Draw one token for each row; temperature 0 takes the likeliest (the lowest id among equals).

    Returns (tokens int64 [N], log p float32 [N]): log p is natural, of the untempered, uncut model distribution.
    """
    logits_NV = logits_NV.float()
    if temperature == 0:
        tokens_N = logits_NV.argmax(dim=-1)
    else:
        probs_NV = torch.softmax(logits_NV / temperature, dim=-1)
        tokens_N = _draw(probs_NV, uniform(0))
        if top_p < 1:
            tokens_N = _redraw_outside(probs_NV, tokens_N, top_p, uniform)
    chosen_N = logits_NV.gather(1, tokens_N[:, None])[:, 0]
    return tokens_N, chosen_N - torch.logsumexp(logits_NV, dim=-1)


def inside_nucleus(probs_NV: Tensor, tokens_N: Tensor, top_p: float) -> Tensor:
    """Whether each row's token belongs to the row's nucleus: bool [N]."""
    own_N1 = probs_NV.gather(1, tokens_N[:, None])
    return torch.where(probs_NV > own_N1, probs_NV, 0.0).sum(dim=-1) < top_p


def _redraw_outside(probs_NV: Tensor, tokens_N: Tensor, top_p: float, uniform: Uniform) -> Tensor:
    own_N = probs_NV.gather(1, tokens_N[:, None])[:, 0]
    # The likelier tokens weigh at most 1 - own: only a token of at most 1 - p can lie outside.
    doubtful = (own_N <= 1 - top_p).nonzero()[:, 0]
    for draw in range(1, _DRAWS_BEFORE_SORT + 1):
        outside = ~inside_nucleus(probs_NV[doubtful], tokens_N[doubtful], top_p)
        doubtful = doubtful[outside]
        if doubtful.numel() == 0:
            return tokens_N
        if draw < _DRAWS_BEFORE_SORT:
            tokens_N[doubtful] = _draw(probs_NV[doubtful], uniform(draw)[doubtful.cpu().numpy()])
    numbers = uniform(_DRAWS_BEFORE_SORT)[doubtful.cpu().numpy()]
    tokens_N[doubtful] = _draw_sorted(probs_NV[doubtful], top_p, numbers)
    return tokens_N


def _draw(probs_NV: Tensor, uniform_N: npt.NDArray[np.float64]) -> Tensor:
    """Invert the cumulative distribution; a token of probability 0 is never drawn."""
    cumulative_NV = probs_NV.cumsum(dim=-1, dtype=torch.float64)
    total_N = cumulative_NV[:, -1]
    target_N = torch.from_numpy(uniform_N).to(probs_NV.device) * total_N
    # u * total may round up to total itself, which no cumulative sum exceeds.
    target_N = torch.minimum(target_N, torch.nextafter(total_N, torch.zeros_like(total_N)))
    return torch.searchsorted(cumulative_NV, target_N[:, None], right=True)[:, 0]


def _draw_sorted(probs_NV: Tensor, top_p: float, uniform_N: npt.NDArray[np.float64]) -> Tensor:
    sorted_NV = probs_NV.sort(dim=-1, descending=True).values
    before_NV = sorted_NV.cumsum(dim=-1) - sorted_NV
    least_N1 = torch.where(before_NV < top_p, sorted_NV, torch.inf).amin(dim=-1, keepdim=True)
    return _draw(torch.where(probs_NV >= least_N1, probs_NV, 0.0), uniform_N)
