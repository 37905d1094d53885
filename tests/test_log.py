"""Progress in a log file: lines with rate and time to go, at intervals; a bar on a terminal."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator

import pytest

from megatron_codex.log import progress

LINE = re.compile(r"judging: +\d+/4 \(\d+ %\), +(\?|[\d.]+) programs/s, \d\d:\d\d gone, (\?|\d\d:\d\d) to go")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def four(seconds: float) -> Iterator[int]:
    for number in range(4):
        yield number
        time.sleep(seconds)


def test_log_file_gets_lines_with_rate_and_time_to_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(four(0.0), total=4, description="judging", unit="programs")) == [0, 1, 2, 3]
    said = capsys.readouterr().err
    lines = said.splitlines()
    assert "\r" not in said and said.endswith("\n")
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert len(lines) == 2, "at the beginning and at the end: ten seconds have not gone between"
    assert lines[-1].startswith("judging: 4/4 (100 %)")


def test_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress(four(0.25), total=4, description="judging", unit="programs"))
    assert terminal.getvalue().count("\r") > 3 and "programs/s" in terminal.getvalue()
