"""Limits of CPU time on slow processors."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import InputError, WorkError
from megatron_codex.sandbox import calibration
from megatron_codex.sandbox.calibration import REFERENCE_CPU_S, measure_cpu_factor, measure_cpu_s
from megatron_codex.sandbox.judge import Judge
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures, Sandbox, choose_sandbox
from megatron_codex.sandbox.program import Program


@pytest.fixture(scope="module")
def sandbox(features: KernelFeatures) -> Sandbox:
    """The strongest level here: what is tested does not depend on it."""
    return choose_sandbox("judge", allow_level_b=True, features=features)


@pytest.fixture(autouse=True)
def measured_anew() -> Iterator[None]:
    measure_cpu_factor.cache_clear()
    yield
    measure_cpu_factor.cache_clear()


BUSY = "import time\ndef f():\n    while time.process_time() < 0.5: pass\n    return 1\n"


@pytest.mark.parametrize(("ratio", "factor"), [(0.3, 1.0), (1.0, 1.0), (1.5, 1.5), (2.34, 2.3), (10.0, 10.0)])
def test_slow_machine_gets_more_and_a_fast_one_no_less(
    ratio: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "measure_cpu_s", lambda num_workers: ratio * REFERENCE_CPU_S)
    assert measure_cpu_factor(2) == factor


def test_slowest_process_counts_and_each_is_a_clean_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    original = subprocess.Popen

    def counting(command: list[str], **keys: Any) -> Any:
        started.append(command)
        numbered = [*command[:-1], f"number = {len(started)}\n{command[-1]}"]
        return original(numbered, **keys)

    monkeypatch.setattr(subprocess, "Popen", counting)
    clean = "import os, sys\nprint(number if 'PATH' not in os.environ and sys.flags.isolated else 'unclean')"
    monkeypatch.setattr(calibration, "_WORKLOAD", clean)
    assert measure_cpu_s(3) == 3.0 and len(started) == 3


def test_machine_is_measured_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure_cpu_factor(1)
    monkeypatch.setattr(calibration, "measure_cpu_s", lambda num_workers: 1e9)
    assert measure_cpu_factor(1) == first >= 1.0


@pytest.mark.parametrize("workload", ["raise SystemExit('no such machine')", "print('x')"])
def test_failed_measurement_is_told_with_its_remedy(workload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_WORKLOAD", workload)
    with pytest.raises(WorkError, match=r"this machine's speed failed \(.*--cpu-factor 1\.0"):
        measure_cpu_factor()


def test_factor_stretches_the_limits_and_stands_in_the_verdict(sandbox: Sandbox) -> None:
    program = Program(source=BUSY, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": 1},))
    with Judge(sandbox, timeout_s=0.4) as judge:
        verdict = judge.judge(program).verdict
        assert (verdict.verdict, verdict.cpu_factor) == ("timeout", 1.0), verdict
    with Judge(sandbox, timeout_s=0.4, cpu_factor=2.5) as judge:
        verdict = judge.judge(program).verdict
        assert (verdict.verdict, verdict.cpu_factor) == ("passed", 2.5), verdict
        assert (judge.limits.cpu_s, judge.limits.wall_s) == (1.0, 3.0)


def test_pool_measures_when_it_is_given_no_factor(features: KernelFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "measure_cpu_s", lambda num_workers: num_workers * 2 * REFERENCE_CPU_S)
    with JudgePool(2, cpu_factor=None, allow_level_b=True, features=features) as measured:
        assert measured.cpu_factor == 4.0
        assert all(judge.limits.cpu_s == 12.0 for judge in measured._judges)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_factor_must_be_a_number_above_0(factor: float) -> None:
    with pytest.raises(InputError, match=r"cpu_factor: got .* must be above 0 and finite"):
        JudgePool(1, cpu_factor=factor)
    with pytest.raises(InputError, match=r"cpu_factor: got .* must be above 0 and finite"):
        EvaluationConfig(samples=Path("s"), problems=Path("p"), output=Path("o"), cpu_factor=factor)
