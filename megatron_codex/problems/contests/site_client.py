"""A Judge behind HTTP, as site_server.py speaks it: submits, waits as it is told to, asks until the verdict is there.

In: the judge's address. Out: SiteVerdicts. Only this project's own server speaks this protocol; no live contest site
does, and none is asked.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

from megatron_codex.errors import InputError, WorkError
from megatron_codex.problems.contests.judge_protocol import SiteVerdict, Submission

_TIMEOUT_S = 30.0
_MAX_ATTEMPTS = 6
"""Of a request that gets no answer; with the pauses between them about six seconds."""
_FIRST_PAUSE_S = 0.1
_FIRST_POLL_S, _LONGEST_POLL_S = 0.005, 0.5
_MAX_RETRY_AFTER_S = 3600


class HttpJudge:
    """A Judge (judge_protocol.py). Not for use from several threads at once."""

    def __init__(self, url: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Raises: InputError when it is not http://HOST:PORT."""
        parts = urlsplit(url)
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host = ""
        if parts.scheme != "http" or not self._host or parts.path not in ("", "/"):
            raise InputError("judge", value=url, rule="must be http://HOST:PORT", remedy="copy the server's address")
        self._url, self._sleep = url, sleep

    def task_ids(self) -> list[str]:
        """The problems that the judge has. Raises: WorkError."""
        _, content, _ = self._request("GET", "/problems")
        return [str(each) for each in content.get("task_ids", [])]

    def submit(self, submission: Submission) -> SiteVerdict:
        """See judge_protocol.Judge."""
        body = {"task_id": submission.task_id, "source": submission.source, "key": submission.key}
        while True:
            status, content, retry_after_s = self._request("POST", "/submissions", body)
            if status not in (429, 503):
                break
            self._sleep(retry_after_s)
        if status == 404:
            return SiteVerdict(status="unknown problem")
        if status == 413:
            return SiteVerdict(status="too large")
        if status != 202:
            raise WorkError(f"{self._url}: refused a submission with {status}: {content.get('error', '')}")
        return self._wait(submission.key)

    def _wait(self, key: str) -> SiteVerdict:
        pause_s = _FIRST_POLL_S
        while True:
            status, content, _ = self._request("GET", f"/submissions/{quote(key, safe='')}")
            if status != 200:
                raise WorkError(f"{self._url}: no verdict on a submission: {status}: {content.get('error', '')}")
            if content.get("done"):
                try:
                    return SiteVerdict.from_json(content)
                except ValueError as error:
                    raise WorkError(f"{self._url}: its verdict is of another form: {error}") from error
            self._sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_POLL_S)

    def _request(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any], int]:
        """(status, JSON, seconds of Retry-After). Asked again, with pauses, where nothing comes. Raises: WorkError."""
        pause_s, fault = _FIRST_PAUSE_S, ""
        for attempt in range(_MAX_ATTEMPTS):
            if attempt:
                self._sleep(pause_s)
                pause_s *= 2
            connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
            try:
                data = None if body is None else json.dumps(body).encode()
                connection.request(method, path, body=data, headers={"Content-Type": "application/json"})
                response = connection.getresponse()
                content = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                fault = f"{type(error).__name__}: {error}"
                continue
            finally:
                connection.close()
            return response.status, content if isinstance(content, dict) else {}, _seconds(response)
        raise WorkError(f"{self._url}: the judge does not answer ({fault}); start it, and run the same command again")


def _seconds(response: http.client.HTTPResponse) -> int:
    text = response.getheader("Retry-After") or ""
    return min(int(text), _MAX_RETRY_AFTER_S) if text.isdecimal() else 1
