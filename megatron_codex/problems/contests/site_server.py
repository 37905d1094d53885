"""The contest site on HTTP, on this machine's loopback only.

    GET  /problems                -> {"task_ids": [...]}
    GET  /problems/TASK_ID        -> prompt, entry_point, examples (the public ones), time_limit_s
    POST /submissions             {"task_id", "source", "key"} -> 202 {"key"}
    GET  /submissions/KEY         -> {"done": false}, or {"done": true, and the fields of a SiteVerdict}
Errors are {"error": ...} with status 400, 404, 413, 429 or 503; the last two have Retry-After in seconds (RFC 9110).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from megatron_codex.config.contests import ContestSiteConfig
from megatron_codex.problems.contests.judge_protocol import Submission
from megatron_codex.problems.contests.site import ContestSite, Refused
from megatron_codex.records import Problem
from megatron_codex.sandbox.pool import JudgePool

logger = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_BYTES_PER_CHAR = 6
"""JSON may write a character as \\u0000."""
_OVERHEAD_BYTES = 4096


class ContestServer:
    """A context manager: leaving it closes the port and ends every process it started."""

    def __init__(self, problems: Sequence[Problem], config: ContestSiteConfig) -> None:
        """Raises: InputError for a problem without examples; WorkError when this machine cannot isolate programs."""
        self._pool = JudgePool(
            config.workers,
            timeout_s=config.timeout_s,
            memory_bytes=config.memory_bytes,
            allow_level_b=config.allow_level_b,
        )
        try:
            self.site = ContestSite(problems, self._pool, config)
            self._server = _Server(self.site, config)
        except BaseException:
            self._pool.close()
            raise
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://{_HOST}:{self._server.server_address[1]}"

    def wait(self) -> None:
        """Until the process is interrupted."""
        self._thread.join()

    def __enter__(self) -> ContestServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.site.close()
        self._pool.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site: ContestSite, config: ContestSiteConfig) -> None:
        self.site = site
        self.max_body_bytes = _BYTES_PER_CHAR * config.max_source_bytes + _OVERHEAD_BYTES
        super().__init__((_HOST, config.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30.0

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)

    def _get(self) -> tuple[int, dict[str, Any]]:
        site, path = self.server.site, self.path.partition("?")[0]
        if path == "/problems":
            return 200, {"task_ids": site.task_ids}
        if path.startswith("/problems/"):
            return 200, site.public(unquote(path.removeprefix("/problems/")))
        if path.startswith("/submissions/"):
            verdict = site.verdict(unquote(path.removeprefix("/submissions/")))
            return 200, {"done": False} if verdict is None else {"done": True, **verdict.to_json()}
        raise Refused(404, "no such page")

    def _post(self) -> tuple[int, dict[str, Any]]:
        if self.path != "/submissions":
            raise Refused(404, "no such page")
        row = self._body()
        texts = [row.get(name) for name in ("task_id", "source", "key")]
        if not all(isinstance(text, str) and text for text in texts):
            raise Refused(400, "task_id, source and key must be strings")
        task_id, source, key = map(str, texts)
        self.server.site.submit(Submission(task_id=task_id, source=source, key=key), self.client_address[0])
        return 202, {"key": key}

    def _body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(400, "Content-Length is missing")
        if int(length) > self.server.max_body_bytes:
            raise Refused(413, f"a request may have {self.server.max_body_bytes} bytes")
        try:
            row = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise Refused(400, "not JSON") from error
        if not isinstance(row, dict):
            raise Refused(400, "not a JSON object")
        return row

    def _answer(self, act: Any) -> None:
        headers = {}
        try:
            status, content = act()
        except Refused as why:
            status, content = why.status, {"error": str(why)}
            headers = {"Retry-After": str(why.retry_after_s)} if why.retry_after_s else {}
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
