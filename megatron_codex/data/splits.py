"""Which documents are trained on and which are held out.

The rule: the documents 0..n-1 are laid into 65,536 blocks of consecutive ones, as equal as can be (a block each where
there are fewer documents). The blocks are put in one order shuffled by the seed, and that order is cut at the running
sums of the shares, rounded to whole blocks. So every document lies in exactly one split, whatever the shares; the same
documents, shares and seed give the same splits; a share that is not zero has at least one block while there are enough;
and a split is a few runs of neighbours, however many documents there are: a window of tokens is one piece of a file.
docs/adr/0004-file-order-windows.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from megatron_codex.data.order import ShuffledOrder
from megatron_codex.errors import InputError

SplitName = Literal["train", "valid", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)

_MAX_BLOCKS = 1 << 16


def split_runs(num_documents: int, *, split: SplitName, splits: Sequence[float], seed: int) -> NDArray[np.int64]:
    """One split's documents as runs, [R, 2]: first document and the one after the last, ascending, none empty.

    splits: shares of train, valid and test, relative to their sum: (98, 1, 1) or (0.98, 0.01, 0.01). A share is met
    within 1 / 65,536 of the documents, or within one document where there are fewer than that.
    Raises: InputError for shares that are no shares. Memory: a megabyte or two, whatever num_documents.
    """
    check_splits(splits)
    if split not in SPLIT_NAMES:
        raise InputError("split", value=split, rule=f"must be one of {', '.join(SPLIT_NAMES)}", remedy="name one")
    num_blocks = min(num_documents, _MAX_BLOCKS)
    counts = _share_out(num_blocks, splits)
    first = sum(counts[: SPLIT_NAMES.index(split)])
    count = counts[SPLIT_NAMES.index(split)]
    if count == 0:
        return np.zeros((0, 2), np.int64)
    blocks = np.sort(ShuffledOrder(num_blocks, seed)(np.arange(num_blocks))[first : first + count])
    gaps = np.flatnonzero(np.diff(blocks) > 1)
    firsts, lasts = blocks[np.append(0, gaps + 1)], blocks[np.append(gaps, count - 1)]
    return np.stack([firsts, lasts + 1], axis=1) * num_documents // num_blocks


def check_splits(splits: Sequence[float]) -> None:
    """Raise InputError when `splits` is not three shares with something to train on."""
    if len(splits) != len(SPLIT_NAMES) or not all(0 <= share < float("inf") for share in splits) or not sum(splits):
        rule = "must be three shares, none negative, not all zero"
        raise InputError("splits", value=tuple(splits), rule=rule, remedy="for example 98,1,1 for train, valid, test")


def _share_out(count: int, splits: Sequence[float]) -> list[int]:
    """`count` blocks among the splits: cut at the rounded running sums, then one for each positive share without."""
    shares = [Fraction(share) for share in splits]
    bounds = [round(count * sum(shares[:end]) / sum(shares)) for end in range(len(shares) + 1)]
    counts = [end - start for start, end in pairwise(bounds)]
    for number, share in enumerate(shares):
        if share and not counts[number] and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
            counts[number] = 1
    return counts
