"""A chain put into words and code: signature, docstring, body.

In: a family, a chain, a split. Out: a `Function` whose wording respects the hold-out rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatron_codex.problems.building_blocks.chains import Chain
from megatron_codex.problems.building_blocks.draw import Draw
from megatron_codex.problems.building_blocks.family import Family, Operation
from megatron_codex.problems.building_blocks.hold_out import Split, split_of_wording
from megatron_codex.problems.docstrings import quote_docstring

INDENT = "    "
_CHANCE_OF_PRONOUN = 0.7
_PAPER_HEADING = (
    "This function takes a string as input, then returns the result of performing\n"
    "the following sequence of manipulations on that string:"
)


@dataclass(frozen=True, kw_only=True)
class Function:
    """A documented function. docstring: its text without quotes. body: indented lines, each with its newline."""

    chain: Chain
    phrasings: tuple[str, ...]
    name: str
    argument: str
    signature: str
    docstring: str
    body: str

    @property
    def quoted_docstring(self) -> str:
        """The docstring as it stands in the source."""
        return quote_docstring(self.docstring, indent=INDENT)


def draw_function(family: Family, chain: Chain, *, split: Split, draw: Draw) -> Function | None:
    """Word this chain and write its code; None if this chain cannot be worded within the split.

    One operation: phrasing and argument name are a pair of this split. Several: every such pair is of train, so that
    the composition alone is new.
    """
    wanted: Split = split if len(chain) == 1 else "train"
    argument = draw.choice(family.argument_names[chain[0].takes])
    choices = [_phrasings(family, operation, argument, wanted) for operation in chain]
    if not all(choices):
        return None
    phrasings = tuple(draw.choice(choice) for choice in choices)
    name = draw.choice(family.function_names)
    return Function(
        chain=chain,
        phrasings=phrasings,
        name=name,
        argument=argument,
        signature=signature(family, chain, name=name, argument=argument),
        docstring=_docstring(family, chain, phrasings, draw),
        body=body_in_steps(chain, argument),
    )


def signature(family: Family, chain: Chain, *, name: str, argument: str) -> str:
    """The def line, newline included."""
    annotation = family.annotations.get(chain[0].takes)
    return f"def {name}({argument}{f': {annotation}' if annotation else ''}):\n"


def body_in_steps(chain: Chain, argument: str) -> str:
    """One assignment a step, then the return: how solutions are written."""
    steps = "".join(f"{INDENT}{argument} = {operation.code(argument)}\n" for operation in chain)
    return f"{steps}{INDENT}return {argument}\n"


def body_in_return(chain: Chain, argument: str) -> str:
    """The last step inside the return: the other way in which people write it."""
    steps = "".join(f"{INDENT}{argument} = {operation.code(argument)}\n" for operation in chain[:-1])
    return f"{steps}{INDENT}return {chain[-1].code(argument)}\n"


def _phrasings(family: Family, operation: Operation, argument: str, split: Split) -> list[str]:
    return [
        phrasing
        for phrasing in operation.phrasings
        if split_of_wording(family, operation, phrasing=phrasing, argument=argument) == split
    ]


def _docstring(family: Family, chain: Chain, phrasings: Sequence[str], draw: Draw) -> str:
    if family.layout == "list":
        return "\n".join([_PAPER_HEADING, *(f"-{phrasing}" for phrasing in phrasings)])
    nouns = [draw.choice(family.nouns[chain[0].takes])]
    nouns += ["it" if draw.chance(_CHANCE_OF_PRONOUN) else "the result" for _ in phrasings[1:]]
    sentence = _joined([phrasing.format(it=noun) for phrasing, noun in zip(phrasings, nouns, strict=True)], draw)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _joined(steps: list[str], draw: Draw) -> str:
    if len(steps) == 1:
        return steps[0]
    return draw.choice(
        (
            ", then ".join(steps),
            "first " + ", then ".join(steps),
            ", ".join(steps[:-1]) + " and then " + steps[-1],
        )
    )
