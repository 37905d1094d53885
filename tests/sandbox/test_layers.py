"""A judged program's process as the host sees it: layers that no attack can tell from the ones before them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from megatron_codex.sandbox.judge import Judge
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

SLEEPS = "import time\ndef f(): time.sleep(1)\n"
FILTERS_OF_A_PROGRAM = 2
"""The worker's, and its own."""


@contextmanager
def running_program(pool: JudgePool) -> Iterator[dict[str, str]]:
    """Judge a program that sleeps; /proc/PID/status of its process, which is there while the block runs."""
    sleeper = Program(source=SLEEPS, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": None},))
    with Judge(pool.sandbox, timeout_s=3) as judge:
        run = Thread(target=judge.judge, args=(sleeper,))
        run.start()
        try:
            yield _status_of_a_program()
        finally:
            run.join()


def test_program_has_no_rights_left_and_its_own_pid_namespace(pool: JudgePool, level: str) -> None:
    with running_program(pool) as status:
        # An ordinary user cannot empty the bounding set, except in a namespace of its own; no_new_privs makes it moot.
        bounding = ["CapBnd"] if level == "A" or os.geteuid() == 0 else []
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb", *bounding):
            assert int(status[name], 16) == 0, (name, status)
        assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"]) == ("1", "2", ""), status
        assert "0" not in status["Uid"].split() + status["Gid"].split(), status
        inside = status["NSpid"].split()
        assert (len(inside) >= 3 and inside[-1] == "1") if level == "A" else len(inside) == 1, status


def test_program_shares_no_namespace_with_the_host_at_level_a(pool: JudgePool, level: str) -> None:
    if level != "A":
        pytest.skip("level B has no namespaces")
    if os.geteuid() != 0:
        pytest.skip("needs root, to look at another user's process")
    with running_program(pool) as status:
        shared = [
            name
            for name in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
            if Path(f"/proc/{status['Pid']}/ns/{name}").readlink() == Path(f"/proc/self/ns/{name}").readlink()
        ]
    assert shared == []


def _status_of_a_program() -> dict[str, str]:
    """/proc/PID/status of the descendant of ours that is bound to a program's filters."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for pid in _descendants(os.getpid()):
            status = _read_status(pid)
            if int(status.get("Seccomp_filters", 0)) == FILTERS_OF_A_PROGRAM:
                return status
        time.sleep(0.01)
    raise AssertionError("no process with a program's filters was seen")


def _descendants(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in tasks.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _read_status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
