"""Which documents are trained on and which are held out.

The rule: the documents 0..n-1 are put in one order shuffled by the seed, and that order is cut at the running sums of
the shares, rounded to whole documents. So every document lies in exactly one split, whatever the shares; the same
documents, shares and seed give the same splits; a split's documents come out in the shuffled order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from megatron_codex.errors import InputError

SplitName = Literal["train", "valid", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)


def split_documents(num_documents: int, *, split: SplitName, splits: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Indices of one split's documents, [documents of the split], in shuffled order.

    splits: shares of train, valid and test, relative to their sum: (98, 1, 1) or (0.98, 0.01, 0.01).
    Raises: InputError for shares that are no shares. Memory: 8 bytes a document.
    """
    check_splits(splits)
    if split not in SPLIT_NAMES:
        raise InputError("split", value=split, rule=f"must be one of {', '.join(SPLIT_NAMES)}", remedy="name one")
    shuffled = np.random.default_rng(seed).permutation(num_documents)
    number = SPLIT_NAMES.index(split)
    bounds = [round(num_documents * sum(splits[:end]) / sum(splits)) for end in (number, number + 1)]
    return shuffled[bounds[0] : bounds[1]]


def check_splits(splits: Sequence[float]) -> None:
    """Raise InputError when `splits` is not three shares with something to train on."""
    if len(splits) != len(SPLIT_NAMES) or not all(0 <= share < float("inf") for share in splits) or not sum(splits):
        rule = "must be three shares, none negative, not all zero"
        raise InputError("splits", value=tuple(splits), rule=rule, remedy="for example 98,1,1 for train, valid, test")
