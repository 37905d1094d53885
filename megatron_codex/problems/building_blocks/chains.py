"""Chains: operations, one after another, that compose and of which every one matters."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from megatron_codex.errors import InputError
from megatron_codex.problems.building_blocks.draw import Draw
from megatron_codex.problems.building_blocks.examples import draw_examples
from megatron_codex.problems.building_blocks.family import Family, Operation, ValueType
from megatron_codex.problems.building_blocks.hold_out import Split, split_of_chain

Chain = tuple[Operation, ...]

_NUM_STARTS = 50
_TRIES_A_START = 200
_NUM_EXAMPLES_TO_JUDGE = 16


def draw_chain(family: Family, *, length: int, split: Split, draw: Draw) -> Chain:
    """A chain of this length and split.

    A single operation composes nothing: any will do, and its wording decides the split (functions.py).
    Raises: InputError if the family has no such chain.
    """
    for _ in range(_NUM_STARTS):
        # The type first: longer chains of numbers are likelier to be meaningful and would else crowd out the others.
        start = draw.weighted(family.types, weights=[len(family.taking(each)) for each in family.types])
        for _ in range(_TRIES_A_START):
            chain = _random_chain(family, start, length, draw)
            if chain and (length == 1 or split_of_chain(family, chain) == split) and _is_meaningful(chain):
                return chain
    raise InputError(
        "chain_lengths",
        value=length,
        rule=f"{family.name} has no {split} chain of this length in which every step matters",
        remedy="use other lengths",
    )


def _random_chain(family: Family, value_type: ValueType, length: int, draw: Draw) -> Chain | None:
    chain: list[Operation] = []
    for _ in range(length):
        choices = [operation for operation in family.taking(value_type) if operation not in chain[-1:]]
        if not choices:
            return None
        chain.append(draw.choice(choices))
        value_type = chain[-1].gives
    return tuple(chain)


def _is_meaningful(chain: Chain) -> bool:
    # A step that is lost in its pair is lost in the chain, and pairs are few and remembered: the cheap test first.
    return all(_every_step_matters(pair) for pair in pairwise(chain)) and _every_step_matters(chain)


@cache
def _every_step_matters(chain: Chain) -> bool:
    judge = Draw("meaningful", *(operation.name for operation in chain))
    return draw_examples(chain, num_examples=_NUM_EXAMPLES_TO_JUDGE, draw=judge) is not None
