"""Nothing is left behind: no process, mount or file, whether the driver leaves in order or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Set
from pathlib import Path

import pytest

from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.program import Program

WORKER_MARK = b"megatron_codex.sandbox import zygote"
SPINNER = Program(source="def f():\n    while True: pass", entry_point="f", test="def check(c): c()")
DRIVER = """
import sys
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import probe_kernel
from megatron_codex.sandbox.program import Program
features = probe_kernel()
if sys.argv[1] == "B":
    features = features.without_namespaces()
with JudgePool(2, timeout_s=60, allow_level_b=True, features=features) as pool:
    program = Program(source="def f():\\n    while True: pass", entry_point="f", test="def check(c): c()")
    print("started", flush=True)
    list(pool.judge([program] * 4))
"""


def workers_of(session: int) -> set[int]:
    """Processes of a session that run a worker's command line: workers, launchers, candidates, testers."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()
            if WORKER_MARK in (entry / "cmdline").read_bytes() and int(state[3]) == session and state[0] != "Z":
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_until_gone(session: int, *, but: Set[int] = frozenset(), timeout_s: float = 5.0) -> set[int]:
    deadline = time.monotonic() + timeout_s
    while (left := workers_of(session) - but) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@pytest.mark.parametrize("chosen", ["A", "B"])
def test_closed_pool_leaves_nothing(
    chosen: str, features: KernelFeatures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = os.getsid(0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mounts, others = Path("/proc/self/mountinfo").read_text(), workers_of(session)
    found = features if chosen == "A" else features.without_namespaces()
    with JudgePool(2, timeout_s=0.2, allow_level_b=True, features=found) as pool:
        list(pool.judge([SPINNER, SPINNER, SPINNER]))
        assert workers_of(session) - others, "the search must find workers while there are some"
    assert wait_until_gone(session, but=others) == set()
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("chosen", ["A", "B"])
def test_killed_driver_takes_everything_along(chosen: str, features: KernelFeatures) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, chosen],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    with driver:
        assert driver.stdout is not None and driver.stdout.readline() == b"started\n"
        deadline = time.monotonic() + 10
        while len(workers_of(driver.pid)) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(workers_of(driver.pid)) >= 4, "two workers and two programs at least"
        time.sleep(0.3)
        os.kill(driver.pid, signal.SIGKILL)
    assert wait_until_gone(driver.pid) == set()
