"""One problem of a set on its way to becoming a Problem, or the reason why it becomes none.

In: what an adapter made of a row or a folder. Out: readings of it to be tried in the judge, and the funnel's stages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_codex.errors import InputError
from megatron_codex.problems.assertions import Example
from megatron_codex.records import Problem

STAGES = ("found", "usable", "tested", "referenced", "accepted")
"""Found in the input; a program of this kind can be judged; it has tests; it has a reference; which passes them."""


class Rejected(Exception):
    """An adapter's word on a problem that it cannot use. stage: the one that it does not reach."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.stage, self.reason, self.detail = stage, reason, detail


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A problem, or what stands in its way."""

    task_id: str
    readings: tuple[Problem, ...] = ()
    """The best first: other solutions, other ways to read its tests. The first whose reference passes is accepted."""
    wrong_programs: tuple[str, ...] = ()
    """Programs that its source gives as wrong ones: the harvester may submit them."""
    stage: str = ""
    """Not reached, where it is rejected already."""
    reason: str = ""
    detail: str = ""

    @classmethod
    def rejected(cls, task_id: str, why: Rejected) -> Candidate:
        return cls(task_id=task_id, stage=why.stage, reason=why.reason, detail=why.detail)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a problem is taken."""

    max_tests: int = 20
    max_test_bytes: int = 1 << 20
    """Of one test's input and output together."""
    max_solutions: int = 5
    """Tried as the reference, one after the other."""

    def chosen(self, tests: Iterable[Example]) -> list[Example]:
        """The first tests that are not too large. Raises: Rejected when there is none."""
        kept: list[Example] = []
        seen = False
        for test in tests:
            seen = True
            if len(kept) == self.max_tests:
                break
            if len(json.dumps(test)) <= self.max_test_bytes:
                kept.append(test)
        if not kept:
            raise Rejected("tested", "tests too large" if seen else "no tests")
        return kept


def text_field(row: Mapping[str, Any], names: Sequence[str], where: str, *, default: str | None = None) -> str:
    """The first of these fields that is there and not null. Raises: InputError when none is, or it is no string."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str):
            return value
        if value is not None:
            raise InputError(f"{where}: {name}", value=value, rule="must be a string", remedy="mend this row")
    if default is None:
        raise InputError(f"{where}: {names[0]}", rule="is missing", remedy="add it to this row")
    return default


def json_field(row: Mapping[str, Any], name: str, where: str) -> Any:
    """A field that is JSON, or JSON as text; None where it is missing or empty. Raises: Rejected, InputError."""
    value = row.get(name)
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.strip() else None
    except (ValueError, RecursionError) as error:  # integers of more than 4,300 digits, too
        rule = f"must be JSON ({error})"
        raise InputError(f"{where}: {name}", value=value, rule=rule, remedy="mend this row") from error
