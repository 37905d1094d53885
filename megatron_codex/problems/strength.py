"""How strong each recorded call of a function is as a test: the branches it takes, the mutants it kills.

In: functions that reproduce their calls. Out: a Strength each, measured in the jail. An arc is a pair of bytecode
instructions that ran one after the other; of a conditional jump there are two. A mutant is killed by the calls whose
outcome it changes, or that it does not survive in ten times the CPU time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from megatron_codex.problems.assertions import Example
from megatron_codex.problems.extract import ExtractedFunction
from megatron_codex.problems.jailed_calls import Heard, JailedCalls
from megatron_codex.problems.mutants import make_mutants
from megatron_codex.problems.observed_program import OBSERVE, Observed
from megatron_codex.problems.trivial import expression_of, trivial_bodies
from megatron_codex.sandbox.canonical import canonical_text
from megatron_codex.tagged import NotPlainData, decode, encode

_WATCH_S, _MUTANT_S, _MUTANT_FACTOR = 20.0, 0.2, 10

Arc = tuple[str, int, int]
"""Code object, and the offsets of two instructions."""
Report = dict[str, int | float]


@dataclass(kw_only=True)
class Strength:
    """Lists have an entry for each example."""

    arcs: list[frozenset[Arc]] = field(default_factory=list)
    """Empty for an example that did not end under watch, where each step costs."""
    reads: list[frozenset[str]] = field(default_factory=list)
    """What the call looked at besides its arguments: "the clock", "the environment", "random numbers", "files"."""
    kills: list[frozenset[int]] = field(default_factory=list)
    """Numbers of the mutants that the example tells from the function, and after them those of the trivial bodies."""
    num_mutants: int = 0
    trivial: tuple[str, ...] = ()
    branches: frozenset[tuple[str, int]] = frozenset()
    """The conditional jumps of the code that ran."""

    def of(self, places: Sequence[int]) -> Strength:
        """Of these examples only."""
        return replace(
            self,
            arcs=[self.arcs[place] for place in places],
            reads=[self.reads[place] for place in places],
            kills=[self.kills[place] for place in places],
        )

    def report(self, chosen: Sequence[int], first: Sequence[int]) -> Report:
        """Numbers for a Problem's provenance. chosen, first: places of examples; the others are `recorded`."""
        everything = range(len(self.kills))
        killed = len(self.killed_by(chosen))
        return {
            "mutants": self.num_mutants,
            "killed": killed,
            "surviving": self.num_mutants - killed,
            "killed_by_first": len(self.killed_by(first)),
            "killed_by_recorded": len(self.killed_by(everything)),
            "mutation_score": self.mutation_score(chosen),
            "branch_exits": 2 * len(self.branches),
            "covered": self.exits_covered(chosen),
            "covered_by_first": self.exits_covered(first),
            "covered_by_recorded": self.exits_covered(everything),
        }

    def killed_by(self, places: Sequence[int]) -> set[int]:
        """Mutants only."""
        killed: set[int] = set().union(*(self.kills[place] for place in places))
        return {number for number in killed if number < self.num_mutants}

    def passed_by(self, places: Sequence[int]) -> list[str]:
        """Names of the trivial bodies that pass all these examples."""
        killed: set[int] = set().union(*(self.kills[place] for place in places))
        return [name for number, name in enumerate(self.trivial, self.num_mutants) if number not in killed]

    def mutation_score(self, places: Sequence[int]) -> float:
        """Killed / made; 1 where no mutant can be made."""
        return round(len(self.killed_by(places)) / self.num_mutants, 4) if self.num_mutants else 1.0

    def exits_covered(self, places: Sequence[int]) -> int:
        """Of conditional jumps: at most two each."""
        arcs: set[Arc] = set().union(*(self.arcs[place] for place in places))
        return sum(min(2, sum(arc[:2] == branch for arc in arcs)) for branch in self.branches)


def measure_strengths(functions: Sequence[ExtractedFunction], *, num_mutants: int, num_workers: int) -> list[Strength]:
    """At most num_mutants of each function. Raises: WorkError when this machine cannot isolate programs."""
    if not functions:
        return []
    with JailedCalls(num_workers) as jailed, ThreadPoolExecutor(num_workers) as threads:
        return list(threads.map(lambda function: _measure(function, jailed, num_mutants), functions))


def _measure(function: ExtractedFunction, jailed: JailedCalls, num_mutants: int) -> Strength:
    examples = function.examples
    observed = Observed(function)
    original = observed.source(function.source)
    plain = _run(original, jailed, len(examples), timeout_s=_WATCH_S)
    watched = _run(original, jailed, len(examples), timeout_s=_WATCH_S, watch=True)
    seen = [_decoded(answer) for answer in watched.answers]
    seen += [{}] * (len(examples) - len(seen))
    strength = Strength(
        arcs=[frozenset(map(_arc, each.get("arcs", ()))) for each in seen],
        reads=[frozenset(each.get("reads", ())) for each in seen],
        branches=frozenset((str(code), int(at)) for each in seen for code, at in each.get("branches", ())),
    )
    killers: list[set[int]] = [set() for _ in examples]
    timeout_s = _MUTANT_S + _MUTANT_FACTOR * plain.cpu_s
    mutants = make_mutants(function.source, name=function.entry_point, limit=num_mutants)
    trivial = trivial_bodies(function.prompt, function.parts.body, function.entry_point, _expected(examples))
    programs = [mutant.source for mutant in mutants] + [function.prompt + body for body in trivial.values()]
    for number, program in enumerate(programs):
        heard = _run(observed.source(program), jailed, len(examples), timeout_s=timeout_s)
        for place in _killing(examples, plain, heard):
            killers[place].add(number)
    strength.kills, strength.num_mutants = list(map(frozenset, killers)), len(mutants)
    strength.trivial = tuple(trivial)
    return strength


def _expected(examples: Sequence[Example]) -> list[str]:
    """The result that comes most often: what a constant function would give."""
    outputs = Counter(expression_of(example["output"]) for example in examples if "output" in example)
    return [text for text, _ in outputs.most_common(1) if text]


def _run(source: str, jailed: JailedCalls, num_calls: int, *, timeout_s: float, watch: bool = False) -> Heard:
    calls = [{"args": [number, watch], "kwargs": {}} for number in range(num_calls)]
    return jailed.run(source, OBSERVE, calls, timeout_s=timeout_s)


def _killing(examples: Sequence[Example], original: Heard, mutant: Heard) -> list[int]:
    """Places of the examples that tell them apart. One that a mutant dies in does; of those after it nothing is known,
    but a mutant that does not even load fails all."""
    if not mutant.loaded:
        return list(range(len(original.answers)))
    pairs = zip(examples, original.answers, mutant.answers, strict=False)
    places = [place for place, (example, right, wrong) in enumerate(pairs) if _differ(example, right, wrong)]
    died = len(mutant.answers)
    return [*places, died] if died < len(original.answers) else places


def _differ(example: Example, right: dict[str, Any], wrong: dict[str, Any]) -> bool:
    """Whether the example's assertions can tell the two answers apart."""
    expected, found = _decoded(right).get("outcome"), _decoded(wrong).get("outcome")
    if not isinstance(expected, list) or not isinstance(found, list) or expected[0] != found[0]:
        return expected != found
    if expected[0] == "raised":
        return expected[1][0] not in found[1]
    compared = slice(1, 3 if "changes" in example else 2)
    return canonical_text(encode(expected[compared])) != canonical_text(encode(found[compared]))


def _decoded(answer: dict[str, Any]) -> dict[str, Any]:
    """What observe() gave; empty for an answer of any other form: it ended by SystemExit, or cannot be sent."""
    try:
        value = decode(answer.get("value"))
    except (NotPlainData, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _arc(form: Sequence[Any]) -> Arc:
    code, start, end = form
    return str(code), int(start), int(end)
