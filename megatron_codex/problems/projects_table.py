"""What came of each project, as a table for a terminal and as JSON for funnel.json.

In: ProjectOutcomes. Out: lines of text, a row a project and their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from megatron_codex.problems.ci_project import ProjectOutcome
from megatron_codex.problems.from_trace import STAGES
from megatron_codex.problems.funnel import Funnel

_TESTS = ("passed", "failed", "errors", "skipped")
_MAX_NAME, _MAX_REASON = 30, 90


def table_lines(outcomes: Sequence[ProjectOutcome]) -> Iterator[str]:
    """Tests by outcome, functions at each stage of the funnel, seconds, packages, the command or the reason."""
    head = ["project", *_TESTS, *STAGES, "seconds", "packages", "command, or why there is none"]
    rows = [head, *(_row(outcome) for outcome in outcomes), _total(outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _row(outcome: ProjectOutcome) -> list[str]:
    tests, environment = outcome.facts.get("tests", {}), outcome.facts.get("environment", {})
    counts = [str(outcome.funnel.counts[stage]) if not outcome.reason else "-" for stage in STAGES]
    return [
        _cut(outcome.name or outcome.path.name, _MAX_NAME),
        *(str(tests.get(name, "-")) for name in _TESTS),
        *counts,
        f"{outcome.seconds:.1f}",
        str(len(environment["packages"])) if environment.get("installed") else "own",
        _cut(_what_ran(outcome), _MAX_REASON),
    ]


def _what_ran(outcome: ProjectOutcome) -> str:
    runner: dict[str, Any] = outcome.facts.get("runner", {})
    if outcome.reason:
        return f"FAILED: {outcome.reason}: {outcome.detail}"
    said = f"{runner.get('command', '')} ({runner.get('found_in', '')})"
    dropped = outcome.facts.get("environment", {}).get("dropped", {})
    return f"{said}; without {', '.join(dropped)}" if dropped else said


def _total(outcomes: Sequence[ProjectOutcome]) -> list[str]:
    funnel = Funnel.total(STAGES, (outcome.funnel for outcome in outcomes))
    sums = [sum(outcome.facts.get("tests", {}).get(name, 0) for outcome in outcomes) for name in _TESTS]
    failed = sum(bool(outcome.reason) for outcome in outcomes)
    return [
        f"{len(outcomes)} projects",
        *(str(number) for number in sums),
        *(str(funnel.counts[stage]) for stage in STAGES),
        f"{sum(outcome.seconds for outcome in outcomes):.1f}",
        "",
        f"{failed} failed" if failed else "",
    ]


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."
