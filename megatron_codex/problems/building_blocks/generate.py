"""Problems of building blocks, generated: the well specified, and the mis-specified that a filter should find.

In: a family, counts, lengths, a split and a seed. Out: whole Problems; the same arguments give the same problems on
every machine. No composition of valid or held_out occurs in the problems of train, nor in the modules (modules.py).
Codex paper, appendix C; the splits are this project's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.building_blocks.chains import Chain, draw_chain
from megatron_codex.problems.building_blocks.draw import Draw
from megatron_codex.problems.building_blocks.examples import Example, check_source, draw_examples, passes
from megatron_codex.problems.building_blocks.families import family_named
from megatron_codex.problems.building_blocks.family import Family
from megatron_codex.problems.building_blocks.functions import Function, body_in_steps, draw_function
from megatron_codex.problems.building_blocks.hold_out import Split, split_named
from megatron_codex.records import Problem
from megatron_codex.tagged import encode

CREATED_BY = "megatron_codex.problems.building_blocks"
LICENCE = "Apache-2.0"

_NUM_EXAMPLES = 8
_MAX_TRIES = 2_000


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """What a problem is made of. `tested` is the chain that the tests and the solution follow."""

    function: Function
    tested: Chain
    examples: tuple[Example, ...]

    @property
    def prompt(self) -> str:
        return self.function.signature + self.function.quoted_docstring


def generate_problems(
    family: str, *, num_problems: int, chain_lengths: Sequence[int], split: str, seed: int
) -> list[Problem]:
    """Well-specified problems, all prompts different.

    chain_lengths: operations of the first problem, of the second, ..., and round again; repeat a length to weigh it.
    Raises: InputError for a bad argument, or if there are not as many different problems.
    """
    draw = Draw(CREATED_BY, "well_specified", family, split, seed)
    drafts = _drafts(_draw_well_specified, family, num_problems, chain_lengths, split, draw)
    return [_problem(draft, f"{family}/{split}/{number:05d}", family, split) for number, draft in enumerate(drafts)]


def generate_mis_specified(
    family: str, *, num_problems: int, chain_lengths: Sequence[int], split: str, seed: int
) -> list[Problem]:
    """Problems whose docstring says one chain, while tests and solution follow another of the same length.

    What the docstring says fails the tests. provenance: `operations` are tested, `documented_operations` are said.
    Raises: as `generate_problems`.
    """
    draw = Draw(CREATED_BY, "mis_specified", family, split, seed)
    drafts = _drafts(_draw_mis_specified, family, num_problems, chain_lengths, split, draw)
    return [
        _problem(draft, f"{family}/{split}/mis_specified/{number:05d}", family, split)
        for number, draft in enumerate(drafts)
    ]


def _drafts(
    draw_draft: Callable[[Family, int, Split, Draw], _Draft | None],
    family_name: str,
    num_problems: int,
    chain_lengths: Sequence[int],
    split_name: str,
    draw: Draw,
) -> list[_Draft]:
    family, split = family_named(family_name), split_named(split_name)
    _check_counts(num_problems, chain_lengths)
    drafts: dict[str, _Draft] = {}
    for number in range(num_problems):
        length = chain_lengths[number % len(chain_lengths)]
        tries = (draw_draft(family, length, split, draw) for _ in range(_MAX_TRIES))
        draft = next((draft for draft in tries if draft and draft.prompt not in drafts), None)
        if draft is None:
            raise InputError(
                "num_problems",
                value=num_problems,
                rule=f"after {number} of {family.name}, no further {split} problem of chain length {length} was found",
                remedy="ask for fewer, or for other chain lengths",
            )
        drafts[draft.prompt] = draft
    return list(drafts.values())


def _draw_well_specified(family: Family, length: int, split: Split, draw: Draw) -> _Draft | None:
    chain = draw_chain(family, length=length, split=split, draw=draw)
    function = draw_function(family, chain, split=split, draw=draw)
    examples = draw_examples(chain, num_examples=_NUM_EXAMPLES, draw=draw)
    if function is None or examples is None:
        return None
    return _Draft(function=function, tested=chain, examples=examples)


def _draw_mis_specified(family: Family, length: int, split: Split, draw: Draw) -> _Draft | None:
    tested = draw_chain(family, length=length, split=split, draw=draw)
    said = draw_chain(family, length=length, split=split, draw=draw)
    function = draw_function(family, said, split=split, draw=draw)
    examples = draw_examples(tested, num_examples=_NUM_EXAMPLES, draw=draw)
    if function is None or examples is None or said[0].takes != tested[0].takes or passes(said, examples):
        return None
    return _Draft(function=function, tested=tested, examples=examples)


def _problem(draft: _Draft, task_id: str, family: str, split: str) -> Problem:
    function = draft.function
    body = body_in_steps(draft.tested, function.argument)
    provenance: dict[str, Any] = {
        "family": family,
        "split": split,
        "operations": [operation.name for operation in draft.tested],
        "chain_length": len(draft.tested),
        "phrasings": list(function.phrasings),
        "argument": function.argument,
    }
    if draft.tested != function.chain:
        provenance |= {"mis_specified": True, "documented_operations": [each.name for each in function.chain]}
    return Problem(
        task_id=task_id,
        prompt=draft.prompt,
        entry_point=function.name,
        canonical_solution=body,
        test=check_source(draft.examples),
        signature=function.signature,
        docstring=function.docstring,
        body=body,
        io_examples=tuple(
            {"args": [encode(example.argument)], "kwargs": {}, "output": encode(example.output)}
            for example in draft.examples
        ),
        source=CREATED_BY,
        licence=LICENCE,
        provenance=provenance,
        created_by=CREATED_BY,
    )


def _check_counts(num_problems: int, chain_lengths: Sequence[int]) -> None:
    if num_problems < 1:
        raise InputError("num_problems", value=num_problems, rule="must be at least 1", remedy="ask for some")
    if not chain_lengths or min(chain_lengths) < 1:
        raise InputError(
            "chain_lengths",
            value=list(chain_lengths),
            rule="must be one or more lengths, each at least 1",
            remedy="give for example 1 2 3",
        )
