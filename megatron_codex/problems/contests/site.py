"""A contest site without its network: problems with hidden tests, a queue, a rate limit, verdicts.

In: Problems whose examples are the tests that are held; submissions. Out: verdicts as contest sites give them: tests
run one after the other, each in a fresh process of the sandbox, up to the first that fails; that one is shown.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_codex.config.contests import ContestSiteConfig
from megatron_codex.errors import InputError
from megatron_codex.jsonl import dump_line
from megatron_codex.problems.assertions import Example
from megatron_codex.problems.contests.judge_protocol import SiteVerdict, Status, Submission
from megatron_codex.problems.contests.rate_limit import RateLimit
from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

_MAX_KEPT = 20_000
"""Verdicts that can still be asked for."""
_BUSY_S = 1
_STATUSES: dict[str, Status] = {"wrong": "wrong answer", "timeout": "time limit", "infra": "not judged"}
_EXPECTED = ("output", "raises", "message", "unordered", "tolerance", "relative_tolerance", "compare")


class Refused(Exception):
    """A submission that is not taken: an HTTP status, and seconds after which to come again (0: never)."""

    def __init__(self, status: int, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


@dataclass(kw_only=True)
class _Entry:
    submission: Submission
    verdict: SiteVerdict | None = None


class ContestSite:
    """Holds the tests; a thread judges what is queued."""

    def __init__(self, problems: Sequence[Problem], pool: JudgePool, config: ContestSiteConfig) -> None:
        """Raises: InputError for a problem without examples, since only these can be shown."""
        for problem in problems:
            if not tests_of(problem):
                rule, remedy = "has neither io_examples nor stdio_examples", "give the problem some: they are its tests"
                raise InputError(problem.task_id, rule=rule, remedy=remedy)
        self._problems = {problem.task_id: problem for problem in problems}
        self._pool, self._config = pool, config
        self._rate = RateLimit(per_minute=config.submissions_per_minute, burst=config.burst)
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._queue: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.num_submissions = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    @property
    def task_ids(self) -> list[str]:
        return list(self._problems)

    def public(self, task_id: str) -> dict[str, Any]:
        """What everybody may read of a problem. Raises: Refused."""
        problem = self._problem(task_id)
        return {
            "task_id": task_id,
            "prompt": problem.prompt,
            "entry_point": problem.entry_point,
            "examples": list(tests_of(problem)[: self._config.num_public]),
            "time_limit_s": self._config.timeout_s,
        }

    def submit(self, submission: Submission, client: str) -> None:
        """Queue a program; one with a known key is taken for the same. Raises: Refused."""
        self._problem(submission.task_id)
        if len(submission.source.encode(errors="surrogatepass")) > self._config.max_source_bytes:
            raise Refused(413, f"a program may have {self._config.max_source_bytes} bytes")
        with self._changed:
            if submission.key in self._entries:
                return
            if len(self._queue) >= self._config.max_queued:
                raise Refused(503, "too many submissions wait", retry_after_s=_BUSY_S)
            wait_s = self._rate.take(client)
            if wait_s:
                raise Refused(429, "too many submissions", retry_after_s=wait_s)
            entry = _Entry(submission=submission)
            self._entries[submission.key] = entry
            while len(self._entries) > _MAX_KEPT:
                self._entries.popitem(last=False)
            self._queue.append(entry)
            self.num_submissions += 1
            self._changed.notify_all()

    def verdict(self, key: str) -> SiteVerdict | None:
        """None while it is not judged yet. Raises: Refused."""
        entry = self._entries.get(key)
        if entry is None:
            raise Refused(404, "no such submission")
        return entry.verdict

    def close(self) -> None:
        """Judge nothing more; what is being judged comes to its end first, within the limits."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()
        self._thread.join()

    def _problem(self, task_id: str) -> Problem:
        if task_id not in self._problems:
            raise Refused(404, "no such problem")
        return self._problems[task_id]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                entry = self._queue.popleft()
            entry.verdict = self._judged(entry.submission)

    def _judged(self, submission: Submission) -> SiteVerdict:
        problem = self._problems[submission.task_id]
        tests = tests_of(problem)
        if not _compiles(submission.source):
            return SiteVerdict(status="compile error", num_tests=len(tests))
        # One that is closed asks for no more runs: its pool may be gone by then.
        running = itertools.takewhile(lambda _: not self._closed, tests)
        programs = (_program(problem, submission.source, test) for test in running)
        verdicts: dict[int, Verdict] = {}
        number = 0
        for index, verdict in self._pool.judge(programs):
            verdicts[index] = verdict
            while number in verdicts:
                if not verdicts[number].passed:
                    return self._failed(tests, number, verdicts[number])
                number += 1
        whole = number == len(tests)
        return SiteVerdict(status="accepted" if whole else "not judged", num_tests=len(tests))

    def _failed(self, tests: Sequence[Example], number: int, verdict: Verdict) -> SiteVerdict:
        status = _STATUSES.get(verdict.verdict, "runtime error")
        if status == "not judged":
            return SiteVerdict(status=status, num_tests=len(tests))
        shows, test = self._config.shows, tests[number]
        hidden = () if "expected" in shows else _EXPECTED
        case = {name: value for name, value in test.items() if name not in hidden}
        if "input" not in shows or len(dump_line(case)) > self._config.max_shown_bytes:
            return SiteVerdict(status=status, failed_test=number + 1, num_tests=len(tests))
        # The detail tells what was expected, too.
        got = verdict.detail if {"expected", "got"} <= set(shows) else ""
        return SiteVerdict(status=status, failed_test=number + 1, num_tests=len(tests), case=case, got=got)


def tests_of(problem: Problem) -> tuple[Example, ...]:
    """The tests of a problem that can be shown one by one."""
    return problem.io_examples or problem.stdio_examples


def _program(problem: Problem, source: str, test: Mapping[str, Any]) -> Program:
    if problem.io_examples:
        return Program(source=source, entry_point=problem.entry_point, io_examples=(dict(test),))
    return Program(source=source, entry_point="", stdio_examples=(dict(test),), checker=problem.checker)


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<submission>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True
