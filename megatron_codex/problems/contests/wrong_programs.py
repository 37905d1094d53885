"""Wrong programs to submit to a judge, kind by kind: what fails a test has it shown.

In: a problem, the tests known so far. Out: sources. adaptive answers what is known from a table and fails the rest: one
submission reveals one test, whatever the problem. The others need no outcome to be shown: known_wrong (the set's own),
mutants (of the reference, one fault each), templates (algorithms that are right for other problems), constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from megatron_codex.config.contests import StrategyName
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.table_program import table_program
from megatron_codex.problems.contests.values import form_source
from megatron_codex.problems.functions import NotSplit
from megatron_codex.problems.mutants import make_mutants
from megatron_codex.records import Problem

MAX_MUTANTS = 50
_MAX_CONSTANTS = 10
_ALL_CONSTANTS = ("None", "0", "1", "-1", "True", "False", "''", "[]", "{}", "()", "0.0")
_ALL_LINES = ("0", "1", "-1", "YES", "NO", "Yes", "No", "")
_EXPRESSIONS = (
    *("args[0]", "args[-1]", "sorted(args[0])", "args[0][::-1]", "len(args[0])", "sum(args[0])", "max(args[0])"),
    *("min(args[0])", "str(args[0])", "not args[0]", "args[0] + args[1]", "args[0] - args[1]", "args[0] * args[1]"),
    *("max(args)", "min(args)", "list(set(args[0]))", "type(args[0])()", "args[0] % 2 == 0", "args[0] == args[-1]"),
)
_PRINTED = (
    *("text", "text.split()[0]", "text.split()[-1]", "len(text.split())", "sum(map(int, text.split()))"),
    *("max(map(int, text.split()))", "min(map(int, text.split()))", "text[::-1]", "' '.join(sorted(text.split()))"),
    *("sum(map(int, text.split()[1:]))", "text.upper()", "text.partition(chr(10))[2]"),
)
_TEMPLATE = """def {name}(*args, **kwargs):
    args = [*args, *kwargs.values()]
    try:
        return {expression}
    except Exception:
        return None
"""
_PRINTING = """import sys

text = sys.stdin.read()
try:
    print({expression})
except Exception:
    print()
"""


def wrong_programs(
    strategy: StrategyName, problem: Problem, known: list[Example], given: Sequence[str]
) -> Iterator[str]:
    """Programs of one kind. known: tests with outcomes, which may grow between two programs. given: the set's own."""
    if strategy == "known_wrong":
        yield from given
    elif strategy == "mutants":
        yield from _mutants(problem)
    elif strategy == "adaptive":
        while True:
            yield table_program(problem.entry_point, known)
    else:
        yield from (_templates if strategy == "templates" else _constants)(problem.entry_point, known)


def _mutants(problem: Problem) -> Iterator[str]:
    if not problem.canonical_solution.strip():
        return
    source = problem.prompt + problem.canonical_solution
    try:
        mutants = make_mutants(source, name=problem.entry_point, limit=MAX_MUTANTS)
    except NotSplit:  # a solution whose function is made in another way than by def
        return
    yield from (mutant.source for mutant in mutants)


def _templates(entry_point: str, known: Sequence[Example]) -> Iterator[str]:
    if entry_point:
        yield from (_TEMPLATE.format(name=entry_point, expression=each) for each in _EXPRESSIONS)
    else:
        yield from (_PRINTING.format(expression=each) for each in _PRINTED)


def _constants(entry_point: str, known: Sequence[Example]) -> Iterator[str]:
    """Outcomes that are right at times, then what is right for other problems."""
    if not entry_point:
        outputs = dict.fromkeys([*(str(each["output"]) for each in known[:_MAX_CONSTANTS]), *_ALL_LINES])
        yield from (f"print({output.rstrip()!r})\n" for output in outputs)
        return
    seen = (form_source(each["output"]) for each in known if "output" in each)
    values = dict.fromkeys([*list(seen)[:_MAX_CONSTANTS], *_ALL_CONSTANTS])
    yield from (f"def {entry_point}(*args, **kwargs):\n    return {value}\n" for value in values)
