"""Control groups: the limits are the kernel's, and no group stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_codex.sandbox import control_group
from megatron_codex.sandbox.control_group import ControlGroup, make_control_group
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.program import Program

FORKS = """
import os, sys
sys.stdin.read()
children = 0
try:
    while children < 50:
        if os.fork() == 0:
            sys.stdin.read() or os.read(os.pipe()[0], 1)
        children += 1
except OSError as error:
    print(children, error.strerror, flush=True)
os.killpg(0, 9)
"""
EATS = "import sys\nsys.stdin.read()\nx = [bytearray(1 << 20) for _ in range(300)]\nprint(len(x))"


@pytest.fixture
def group() -> ControlGroup:
    made = make_control_group(memory_bytes=100 << 20, num_processes=10)
    if made is None:
        pytest.skip("this user may make no cgroup here")
    return made


def run_in(group: ControlGroup, source: str) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        group.add(process.pid)
        output, _ = process.communicate("", timeout=30)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def test_limits_are_enforced_and_the_group_is_removed(group: ControlGroup) -> None:
    assert run_in(group, FORKS).stdout.startswith("9 "), "ten processes, the first of which forked nine"
    eaten = run_in(group, EATS)
    assert (eaten.returncode, eaten.stdout) == (-9, "")
    group.remove()
    assert not any(directory.exists() for directory in group.directories)


def test_groups_of_a_killed_driver_are_swept_and_those_of_a_living_one_are_not(group: ControlGroup) -> None:
    left = [directory.with_name(f"megatron_codex.{os.getpid()}.1.0") for directory in group.directories]
    for directory in left:
        directory.mkdir()
    second = make_control_group(memory_bytes=100 << 20, num_processes=10)
    assert second is not None
    assert not any(directory.exists() for directory in left), "another process had this number then"
    assert all(directory.exists() for directory in group.directories)
    for each in (group, second):
        each.remove()


def test_worker_is_in_its_group_while_it_lives(features: KernelFeatures, group: ControlGroup) -> None:
    group.remove()
    parent = group.directories[0].parent
    others = set(parent.iterdir())  # of pools that other tests hold
    with JudgePool(1, timeout_s=1, allow_level_b=True, features=features) as pool:
        assert pool.isolation.endswith(", cgroups")
        list(pool.judge([Program(source="def f(): return 1", entry_point="f", test="def check(c): assert c() == 1")]))
        own = f"megatron_codex.{os.getpid()}."
        (directory,) = (each for each in set(parent.iterdir()) - others if each.name.startswith(own))
        assert len((directory / "cgroup.procs").read_text().split()) >= 1
    assert not directory.exists()


def test_no_cgroup_is_made_where_none_is_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(control_group, "_mount_points", lambda kind: [])
    assert make_control_group(memory_bytes=1 << 30, num_processes=10) is None


def test_version_2_is_used_where_it_is_delegated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On plain files of the kernel's names: this machine's version 2 may have no controllers."""
    own = tmp_path / "job"
    own.mkdir()
    (own / "cgroup.controllers").write_text("cpu memory pids\n")
    (own / "cgroup.subtree_control").write_text("memory pids\n")
    monkeypatch.setattr(control_group, "_mount_points", lambda kind: [str(tmp_path)] if kind == "cgroup2" else [])
    monkeypatch.setattr(control_group, "_own_groups", lambda: ["0::/job"])
    assert control_group._version_2() == (own,)
    (own / "cgroup.controllers").write_text("cpu pids\n")
    assert control_group._version_2() is None
