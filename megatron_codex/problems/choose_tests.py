"""Which recorded calls become a Problem's tests: those that cover its branches and kill its mutants.

In: examples and their Strength. Out: places of at most so many examples. Greedy: the one that covers most arcs not yet
covered, of those the one that kills most mutants not yet killed, then a new outcome, then the shortest. Where nothing
is left to win, the rest is of as many different outcomes as there are (examples.choose_examples).
"""

from __future__ import annotations

from collections.abc import Sequence

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.examples import choose_examples, example_size, outcome_key
from megatron_codex.problems.strength import Strength


def choose_tests(examples: Sequence[Example], strength: Strength, limit: int) -> list[int]:
    """Places of the chosen, in the order of the choice."""
    chosen: list[int] = []
    arcs: set[object] = set()
    mutants: set[int] = set()
    outcomes: set[str] = set()
    left = sorted(range(len(examples)), key=lambda place: example_size(examples[place]))
    keys = [outcome_key(example) for example in examples]

    def gain(place: int) -> tuple[int, int, bool]:
        return (
            len(strength.arcs[place] - arcs),
            len(strength.kills[place] - mutants),
            keys[place] not in outcomes,
        )

    while left and len(chosen) < limit:
        best = max(left, key=gain)  # the first, and so the shortest, of equals
        if not any(gain(best)):
            break
        left.remove(best)
        chosen.append(best)
        arcs |= strength.arcs[best]
        mutants |= strength.kills[best]
        outcomes.add(keys[best])
    rest = choose_examples([examples[place] for place in left], limit - len(chosen))
    return chosen + [place for place in left if any(examples[place] is each for each in rest)]
