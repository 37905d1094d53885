"""Processes that belong together: what comes while they are being started reaches them, or ends them, too."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from megatron_codex import children
from megatron_codex.children import Ended, run_together


def run(*lines: str) -> Ended:
    """A process of bash for each line."""
    each = [{**os.environ, "LINE": line} for line in lines]
    return run_together(["bash", "-c", 'eval "$LINE"'], environments=each, name="rank")


@pytest.mark.parametrize(
    ("lines", "code", "how"),
    [
        (["exit 0", "exit 0"], 0, ""),
        (["exit 3"], 3, "rank ended with exit code 3"),
        (["exit 0", "exit 3"], 3, "rank 1 of 2 was the first to end, with exit code 3"),
        (["kill -9 $$", "sleep 60"], 137, "rank 0 of 2 was ended by SIGKILL; the other ranks were ended too; perhaps"),
        (["kill -40 $$"], 168, "rank was ended by signal 40; see its output above"),
    ],
)
def test_the_first_that_ends_badly_counts(lines: list[str], code: int, how: str) -> None:
    ended = run(*lines)
    assert (ended.code, ended.told) == (code, False)
    assert ended.how.startswith(how) and bool(ended.how) == bool(how)


def test_the_others_have_time_to_say_why(tmp_path: Path) -> None:
    assert run("exit 3", f"sleep 0.5; touch {tmp_path}/said").code == 3
    assert (tmp_path / "said").exists()


def test_in_another_thread_nothing_is_handed_on() -> None:
    found: list[Ended] = []
    thread = threading.Thread(target=lambda: found.append(run("exit 3")))
    thread.start()
    thread.join()
    assert found[0].code == 3


@dataclass
class Start:
    """Processes that have been started, and signals to this one that come when the second is, and nobody knows yet."""

    numbers: list[int] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)
    """(number of a process, signal) of what they were sent, but for SIGKILL."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    start = Start()

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            start.processes.append(self)
            if len(start.processes) == 2:
                for number in start.numbers:
                    os.kill(os.getpid(), number)
                    time.sleep(0.2)  # the handler runs here

        def send_signal(self, sig: int) -> None:
            if sig != signal.SIGKILL:
                start.told.append((start.processes.index(self), sig))
            super().send_signal(sig)

    monkeypatch.setattr(children.subprocess, "Popen", Popen)
    return start


def test_a_signal_that_comes_while_they_are_started_reaches_all(start: Start) -> None:
    start.numbers.append(signal.SIGTERM)
    assert run(*["exec sleep 60"] * 2).told
    assert start.told == [(0, signal.SIGTERM), (1, signal.SIGTERM)]


def test_ctrl_c_that_comes_while_they_are_started_leaves_none_behind(start: Start) -> None:
    start.numbers.append(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(*["exec sleep 60"] * 2)
    assert [process.returncode for process in start.processes] == [-signal.SIGKILL] * 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
