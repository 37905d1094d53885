"""Pools shared by the sandbox's tests: one at each isolation level, with a short time limit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures, probe_kernel
from megatron_codex.sandbox.program import Program

TIMEOUT_S = 0.4
MEMORY_BYTES = 512 << 20

JudgeOne = Callable[[Program], Verdict]


ALL_NAMESPACES = 0x7E020000
ASK_THE_KERNEL = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare({ALL_NAMESPACES}) != 0)"


@pytest.fixture(scope="session")
def features() -> KernelFeatures:
    """As probed; checked against the kernel without our code, or a broken jail would skip its own tests."""
    found = probe_kernel()
    if found.missing_basics or not found.landlock_abi:
        pytest.skip(f"this kernel lacks what the sandbox needs: {found}")
    kernel_has_namespaces = subprocess.run([sys.executable, "-c", ASK_THE_KERNEL], check=False).returncode == 0
    assert kernel_has_namespaces == (not found.missing_namespaces), f"the probe is wrong, or the jail broken: {found}"
    return found


@pytest.fixture(scope="session", params=["A", "B"], ids=["level_a", "level_b"])
def pool(request: pytest.FixtureRequest, features: KernelFeatures) -> Iterator[JudgePool]:
    if request.param == "A" and features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")
    if request.param == "B" and features.landlock_abi < 6:
        pytest.skip(f"Landlock ABI {features.landlock_abi} is below 6")
    found = features if request.param == "A" else features.without_namespaces()
    with JudgePool(
        2, timeout_s=TIMEOUT_S, memory_bytes=MEMORY_BYTES, allow_level_b=request.param == "B", features=found
    ) as opened:
        assert opened.isolation.startswith(f"{request.param}: ")
        yield opened


@pytest.fixture(scope="session")
def judge_one(pool: JudgePool) -> JudgeOne:
    def judge(program: Program) -> Verdict:
        ((_, verdict),) = pool.judge([program])
        return verdict

    return judge


@pytest.fixture(scope="session")
def level(pool: JudgePool) -> str:
    return pool.sandbox.level
