"""What a contest's judge is, whoever runs it: a program goes in, a verdict with the first failing test comes out.

In: a Submission. Out: a SiteVerdict. site_server.py is such a judge on this machine, site_client.py speaks to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from megatron_codex.problems.assertions import Example

Verdicts = Literal["accepted", "wrong answer", "runtime error", "time limit", "compile error"]
Failures = Literal["too large", "unknown problem", "not judged"]
Status = Literal[Verdicts, Failures]
STATUSES: tuple[str, ...] = get_args(Status)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A program for a problem."""

    task_id: str
    source: str
    key: str
    """Chosen by the sender, never twice: what is sent again after a lost answer is not judged, nor counted, again."""


@dataclass(frozen=True, kw_only=True)
class SiteVerdict:
    """What a judge says of a submission."""

    status: Status
    """not judged: the judge itself failed."""
    failed_test: int | None = None
    """From 1, where a test failed."""
    num_tests: int | None = None
    case: Example | None = None
    """The failing test's "args" and "kwargs", or "input"; and what it expects, if that is shown. None: not shown."""
    got: str = ""
    """What the program did instead, in words, if the judge shows it."""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("status", "failed_test", "num_tests", "case", "got")}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> SiteVerdict:
        """Raises: ValueError for a row of another form."""
        case = row.get("case")
        numbers = [row.get("failed_test"), row.get("num_tests")]
        if row.get("status") not in STATUSES or not isinstance(case, dict | None):
            raise ValueError("not a verdict")
        if not all(number is None or type(number) is int for number in numbers):
            raise ValueError("not a verdict")
        return cls(
            status=row["status"], failed_test=numbers[0], num_tests=numbers[1], case=case, got=str(row.get("got", ""))
        )


class Judge(Protocol):
    """A contest's judge."""

    def submit(self, submission: Submission) -> SiteVerdict:
        """Send a program and wait for its verdict. Raises: WorkError when the judge does not answer."""
        ...
