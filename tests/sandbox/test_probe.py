"""The level of isolation: the strongest there is, never a weaker one in silence, or a refusal that says why."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_codex.errors import WorkError
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures, choose_sandbox, probe_kernel

NO_NAMESPACES = KernelFeatures(landlock_abi=7, missing_namespaces="unshare: Operation not permitted")


def test_level_a_is_chosen_where_it_can_be(features: KernelFeatures) -> None:
    if features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    sandbox = choose_sandbox("judge", allow_level_b=True)
    assert sandbox.level == "A"
    groups = ", cgroups" if features.control_groups else ""
    assert sandbox.isolation == f"A: namespaces, landlock {features.landlock_abi}, seccomp, rlimits{groups}"


def test_level_b_needs_the_flag() -> None:
    with pytest.raises(WorkError, match=r"unshare: Operation not permitted.*--allow-level-b"):
        choose_sandbox("judge", features=NO_NAMESPACES)
    allowed = choose_sandbox("judge", features=NO_NAMESPACES, allow_level_b=True)
    assert allowed.isolation == "B: no namespaces, landlock 7, seccomp, rlimits"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (KernelFeatures(landlock_abi=0), "Landlock is missing"),
        (KernelFeatures(landlock_abi=7, missing_basics="seccomp filters"), "seccomp filters"),
        (KernelFeatures(landlock_abi=5, missing_namespaces="refused"), "Landlock ABI 5 is below 6"),
    ],
    ids=["no_landlock", "no_seccomp", "old_landlock_without_namespaces"],
)
def test_anything_less_is_refused_by_name(features: KernelFeatures, message: str) -> None:
    with pytest.raises(WorkError, match=message):
        JudgePool(1, allow_level_b=True, features=features)


def test_projects_run_at_level_a_only() -> None:
    with pytest.raises(WorkError, match="level A only"):
        choose_sandbox("trace", features=NO_NAMESPACES, allow_level_b=True)


def test_unknown_architecture_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.uname_result(("Linux", "node", "6.12", "", "riscv64"))
    monkeypatch.setattr(os, "uname", lambda: other)
    found = probe_kernel.__wrapped__()
    with pytest.raises(WorkError, match="riscv64"):
        choose_sandbox("judge", features=found)


COMMAND = """
import sys
from megatron_codex.errors import WorkError
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
program = Program(source="def f(): return 1", entry_point="f", test="def check(c): assert c() == 1")
try:
    JudgePool(1)
except WorkError as error:
    print("refused:", error)
with JudgePool(1, allow_level_b=True) as pool:
    print(pool.isolation, [verdict.verdict for _, verdict in pool.judge([program])])
"""


def test_kernel_that_gives_no_namespaces_is_found_out(features: KernelFeatures) -> None:
    """In a user namespace whose own limit of user namespaces is 0, as on a hardened machine or in a container."""
    if features.missing_namespaces:
        pytest.skip(f"no namespaces here to forbid them in: {features.missing_namespaces}")
    if features.landlock_abi < 6:
        pytest.skip(f"Landlock ABI {features.landlock_abi} is below 6")
    uid, gid, new_user_namespace = os.geteuid(), os.getegid(), 0x10000000

    def forbid_namespaces() -> None:
        assert ctypes.CDLL(None).unshare(new_user_namespace) == 0
        for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
            Path("/proc/self", name).write_text(text)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")

    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        preexec_fn=forbid_namespaces,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert lines[0].startswith("refused: no namespaces (unshare: ") and "--allow-level-b" in lines[0]
    found = re.fullmatch(r"B: no namespaces, landlock (\d+), seccomp, rlimits(, cgroups)? \['passed'\]", lines[1])
    assert found and int(found[1]) == features.landlock_abi
