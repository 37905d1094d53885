"""Which split a function belongs to, by a stable hash: train, valid or held_out.

What is held out is a composition: an ordered pair of adjacent operations; for a single operation, a phrasing together
with an argument name. Every operation and every phrasing is therefore seen in training, and never a held-out
combination of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

from megatron_codex.errors import InputError
from megatron_codex.problems.building_blocks.draw import stable_hash
from megatron_codex.problems.building_blocks.family import Family, Operation

Split = Literal["train", "valid", "held_out"]
SPLITS: tuple[Split, ...] = get_args(Split)

_HELD_OUT_PERCENT = 20
_VALID_PERCENT = 15


def split_of_wording(family: Family, operation: Operation, *, phrasing: str, argument: str) -> Split:
    """The split of a phrasing together with an argument name.

    An operation with one wording in all (the paper's blocks) is in train: there is nothing left to hold out.
    """
    if len(operation.phrasings) * len(family.argument_names[operation.takes]) == 1:
        return "train"
    return _split_of_key(family.name, operation.name, phrasing, argument)


def split_of_chain(family: Family, operations: Sequence[Operation]) -> Split:
    """The split of a chain: the farthest from training of its adjacent pairs; train for one operation.

    A pair is known by its code, so that reversing a text and reversing a list are one operation here.
    """
    pairs = pairwise(operation.expression for operation in operations)
    return _farthest(_split_of_key(family.name, first, second) for first, second in pairs)


def split_named(name: str) -> Split:
    """The split of this name. Raises InputError for an unknown one."""
    for split in SPLITS:
        if split == name:
            return split
    raise InputError("split", value=name, rule="no such split", remedy=f"use one of {', '.join(SPLITS)}")


def _split_of_key(*key: str) -> Split:
    bucket = stable_hash(*key) % 100
    if bucket < _HELD_OUT_PERCENT:
        return "held_out"
    return "valid" if bucket < _HELD_OUT_PERCENT + _VALID_PERCENT else "train"


def _farthest(splits: Iterable[Split]) -> Split:
    return max(splits, key=SPLITS.index, default="train")
