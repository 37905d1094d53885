"""The local judge behaves as a contest's site does: over HTTP, with its tests hidden."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from megatron_codex.errors import InputError, WorkError
from megatron_codex.problems.contests.judge_protocol import SiteVerdict, Submission
from megatron_codex.problems.contests.rate_limit import RateLimit
from megatron_codex.problems.contests.site import Refused
from megatron_codex.problems.contests.site_client import HttpJudge
from megatron_codex.problems.contests.site_server import ContestServer
from megatron_codex.records import Problem
from tests.problems.contests.contest import (
    CALLS,
    DOUBLING,
    PAIRS,
    SUMMING,
    function_problem,
    script_problem,
    site_config,
)


@pytest.fixture(scope="module")
def server(isolation: None) -> Iterator[ContestServer]:
    with ContestServer([function_problem(), script_problem()], site_config(max_source_bytes=2000)) as server:
        yield server


def _ask(
    url: str, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any], Any]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    content = json.loads(response.read())
    connection.close()
    return response.status, content, response.headers


def _submit(server: ContestServer, source: str, task_id: str = "t/double", key: str = "") -> SiteVerdict:
    key = key or f"{task_id} {hash(source)}"
    return HttpJudge(server.url).submit(Submission(task_id=task_id, source=source, key=key))


WRONG = "def double(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("source", "status", "test"),
    [
        (DOUBLING, "accepted", None),
        (WRONG, "wrong answer", 2),
        ("def double(x):\n    return {1: 2}[x]\n", "runtime error", 2),
        ("def double(x):\n    while x == 2:\n        pass\n    return 2 * x\n", "time limit", 2),
        ("def double(x:\n", "compile error", None),
        ("def other(x):\n    return x\n", "runtime error", 1),
        ("import os\ndef double(x):\n    os._exit(0)\n", "runtime error", 1),
        ("#" * 2001, "too large", None),
    ],
    ids=["right", "wrong", "raises", "loops", "syntax", "no function", "exits", "large"],
)
def test_verdicts(server: ContestServer, source: str, status: str, test: int | None) -> None:
    verdict = _submit(server, source)
    assert (verdict.status, verdict.failed_test) == (status, test)
    assert verdict.case == (CALLS[test - 1] if test else None)


def test_scripts_are_judged(server: ContestServer) -> None:
    assert _submit(server, SUMMING, "t/sum & so").status == "accepted"
    verdict = _submit(server, "print(1)\n", "t/sum & so")
    assert (verdict.failed_test, verdict.num_tests, verdict.case) == (2, 4, PAIRS[1])
    assert "line 1 is '1', expected '2'" in verdict.got


def test_unknown_problems_are_said_to_be(server: ContestServer) -> None:
    assert _submit(server, DOUBLING, "t/other").status == "unknown problem"


def test_only_public_tests_can_be_read(server: ContestServer) -> None:
    pages = ["/problems", *(f"/problems/{quote(task_id)}" for task_id in server.site.task_ids)]
    answers = [_ask(server.url, "GET", page) for page in pages]
    assert [status for status, _, _ in answers] == [200] * 3
    assert [content.get("examples") for _, content, _ in answers] == [None, CALLS[:1], PAIRS[:1]]
    shown = json.dumps([content for _, content, _ in answers])
    assert '"4"' not in shown and "ValueError" not in shown and "canonical_solution" not in shown


def test_the_same_key_is_judged_once(server: ContestServer) -> None:
    before = server.site.num_submissions
    assert {_submit(server, WRONG, key="once").failed_test for _ in range(3)} == {2}
    assert server.site.num_submissions == before + 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/problems/x", None, 404),
        ("GET", "/submissions/x", None, 404),
        ("POST", "/problems", b"{}", 404),
        ("POST", "/submissions", b"{", 400),
        ("POST", "/submissions", b"[]", 400),
        ("POST", "/submissions", b"[" * 9000, 400),
        ("POST", "/submissions", b'{"task_id": "t/double", "source": "x"}', 400),
        ("POST", "/submissions", b" " * 20_000, 413),
    ],
    ids=range(9),
)
def test_bad_requests_are_refused(
    server: ContestServer, method: str, path: str, body: bytes | None, status: int
) -> None:
    found, content, _ = _ask(server.url, method, path, body)
    assert found == status and content["error"]


def test_a_rate_limit_is_told_and_kept(isolation: None) -> None:
    with ContestServer([function_problem()], site_config(submissions_per_minute=6, burst=2)) as server:
        body = {"task_id": "t/double", "source": DOUBLING}
        sent = [
            _ask(server.url, "POST", "/submissions", json.dumps({**body, "key": str(number)}).encode())
            for number in range(3)
        ]
        assert [status for status, _, _ in sent] == [202, 202, 429]
        assert 9 <= int(sent[2][2]["Retry-After"]) <= 10
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            if seconds >= 1:
                waits.append(seconds)
                raise InterruptedError

        with pytest.raises(InterruptedError):
            HttpJudge(server.url, sleep=sleep).submit(Submission(task_id="t/double", source=DOUBLING, key="4"))
        assert len(waits) == 1 and 8 <= waits[0] <= 10


def test_a_full_queue_is_told(isolation: None) -> None:
    with ContestServer([function_problem()], site_config(max_queued=1, timeout_s=0.5)) as server:
        loop = "while True:\n    pass\n"
        with pytest.raises(Refused, match="too many submissions wait") as refused:
            for number in range(3):  # one is judged, one waits
                server.site.submit(Submission(task_id="t/double", source=loop, key=str(number)), "me")
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1)


def test_rate_limit_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(per_minute=30, burst=2, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(3)] == [0, 0, 2]
    assert limit.take("b") == 0
    now[0] = 2.0
    assert [limit.take("a") for _ in range(2)] == [0, 2]


@pytest.mark.parametrize(
    ("fields", "case", "got"),
    [
        ({"shows": ("input",)}, {"args": [2], "kwargs": {}}, False),
        ({"shows": ("input", "expected")}, CALLS[1], False),
        ({"shows": ("expected", "got")}, None, False),
        ({"max_shown_bytes": 10}, None, False),
        ({}, CALLS[1], True),
    ],
    ids=["input", "expected", "no input", "too long", "all"],
)
def test_a_site_shows_what_it_is_set_to(isolation: None, fields: dict[str, Any], case: Any, got: bool) -> None:
    with ContestServer([function_problem()], site_config(**fields)) as server:
        verdict = _submit(server, WRONG)
    assert (verdict.failed_test, verdict.case, bool(verdict.got)) == (2, case, got)


def test_problems_without_examples_are_refused() -> None:
    problem = Problem(task_id="t", prompt="", entry_point="f", canonical_solution="", test="def check(c): pass")
    with pytest.raises(InputError, match="t: has neither io_examples nor stdio_examples"):
        ContestServer([problem], site_config())


def test_a_judge_that_is_not_there_is_named() -> None:
    judge = HttpJudge("http://127.0.0.1:1", sleep=lambda _: None)
    with pytest.raises(WorkError, match=r"http://127\.0\.0\.1:1: the judge does not answer"):
        judge.submit(Submission(task_id="t", source="x", key="k"))
    for url in ("https://x:1", "http://", "http://x:y", "http://x:1/path"):
        with pytest.raises(InputError, match=r"judge: got '.*'; must be http://HOST:PORT"):
            HttpJudge(url)


def test_a_closed_site_leaves_no_thread(isolation: None) -> None:
    before = threading.active_count()
    with ContestServer([function_problem()], site_config()) as server:
        _submit(server, WRONG)
    assert threading.active_count() == before
