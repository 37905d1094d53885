"""What else the machine does changes no verdict: CPU time decides, and who waits is told from who computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from megatron_codex.sandbox import judge as judge_module
from megatron_codex.sandbox.conclusion import Judgement
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.judge import Judge
from megatron_codex.sandbox.messages import Ending
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures, Sandbox, choose_sandbox
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.worker import Worker

CHECK = "def check(candidate):\n    assert candidate() == 1\n"
BUSY = "import time\ndef f():\n    while time.process_time() < {}: pass\n    return 1\n"
SLEEPS = "import time\ndef f():\n    time.sleep(99)\n"
RECURSES = "def down(n): return n if n == 0 else down(n - 1)\ndef f(): return 1 + down({})\n"
THREADS = """
import hashlib, threading
def work():
    while True: hashlib.sha256(bytes(1 << 20)).digest()
def f():
    for _ in range(4): threading.Thread(target=work).start()
    threading.Event().wait()
"""


def pair(source: str) -> Program:
    return Program(source=source, entry_point="f", test=CHECK)


def batch(source: str) -> Program:
    return Program(source=source, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": 1},))


def script(source: str) -> Program:
    return Program(source=f"{source}\nprint(f())", entry_point="", stdio_examples=({"input": "", "output": "1"},))


MODES = {"pair": pair, "batch": batch, "script": script}


@pytest.fixture(scope="module")
def sandbox(features: KernelFeatures) -> Sandbox:
    """The strongest level here: what is tested does not depend on it."""
    return choose_sandbox("judge", allow_level_b=True, features=features)


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def test_verdicts_are_the_same_beside_busy_loops(features: KernelFeatures) -> None:
    programs = [
        pair(BUSY.format(0.15)),
        script(BUSY.format(0.15)),
        pair(BUSY.format(9)),
        batch(BUSY.format(9)),
        pair("def f(): return 1"),
        batch("def f(): return 2"),
        script("def f(): 1 // 0"),
    ]
    with busy_loops(4), JudgePool(2, timeout_s=0.4, allow_level_b=True, features=features) as pool:
        loaded = dict(pool.judge(programs))
    names = [loaded[index].verdict for index in range(len(programs))]
    assert names == ["passed", "passed", "timeout", "timeout", "passed", "wrong", "error"], loaded
    assert all("CPU time" in loaded[index].detail for index in (2, 3)), loaded


def test_computing_program_gets_more_of_the_clock_on_the_wall(sandbox: Sandbox) -> None:
    """Its CPU limit is far above what it gets before the wall-clock limit, as on a machine that gives it a tenth."""
    slow_test = "def check(candidate):\n    import time\n    candidate()\n    while time.process_time() < 1.0: pass\n"
    with Judge(sandbox, timeout_s=5) as judge:
        judge.limits = replace(judge.limits, wall_s=0.8)
        for program in (
            batch(BUSY.format(1.0)),
            script(BUSY.format(1.0)),
            Program(source="def f(): return 1", entry_point="f", test=slow_test),
        ):
            judgement = judge.judge(program)
            assert judgement.verdict.verdict == "passed", judgement


def test_computing_program_ends_at_last(sandbox: Sandbox) -> None:
    with Judge(sandbox, timeout_s=5) as judge:
        judge.limits = replace(judge.limits, wall_s=0.2)
        judgement = judge.judge(pair(BUSY.format(9)))
    assert judgement.verdict.verdict == "timeout" and judgement.starved
    assert 2 <= judgement.verdict.wall_s < 5


@pytest.mark.parametrize("mode", MODES)
def test_sleeping_program_gets_no_more_of_it(mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[float] = []
    original = Judge._judge_once

    def counting(self: Judge, program: Program) -> Judgement:
        runs.append(self.limits.wall_s)
        return original(self, program)

    monkeypatch.setattr(Judge, "_judge_once", counting)
    with Judge(sandbox, timeout_s=5) as judge:
        judge.limits = replace(judge.limits, wall_s=0.6)
        judgement = judge.judge(MODES[mode](SLEEPS))
    assert (judgement.verdict.verdict, judgement.starved, runs) == ("timeout", True, [0.6]), judgement


@pytest.mark.parametrize("mode", MODES)
def test_program_that_was_done_before_it_was_stopped_still_used_up_its_time(
    mode: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the worker, on a busy machine, wakes too late."""
    original = Worker.wait

    def late(self: Worker, run: int, *, timeout_s: float) -> Ending:
        return original(self, run, timeout_s=timeout_s)._replace(cpu_s=1.01)

    with Judge(sandbox, timeout_s=1) as judge:
        assert judge.judge(MODES[mode]("def f(): return 1")).verdict.passed
        monkeypatch.setattr(Worker, "wait", late)
        verdict = judge.judge(MODES[mode]("def f(): return 1")).verdict
        assert verdict.verdict == "timeout" and "used up 1 s of CPU time" in verdict.detail
        assert judge.judge(MODES[mode]("def f(): return 2")).verdict.verdict in ("wrong", "timeout")


def test_checker_that_was_done_before_it_was_stopped_used_up_its_time(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Worker.wait
    waited: list[int] = []

    def late(self: Worker, run: int, *, timeout_s: float) -> Ending:
        waited.append(run)
        return original(self, run, timeout_s=timeout_s)._replace(cpu_s=1.01 if len(waited) == 2 else 0.1)

    monkeypatch.setattr(Worker, "wait", late)
    program = replace(script("def f(): return 1"), checker="def check(*texts): return True")
    with Judge(sandbox, timeout_s=1) as judge:
        verdict = judge.judge(program).verdict
    assert (verdict.verdict, verdict.detail) == ("timeout", "test 1 of 1: the checker used up 1 s of CPU time")


@pytest.mark.parametrize("mode", MODES)
def test_cpu_time_of_all_threads_counts(mode: str, sandbox: Sandbox) -> None:
    with Judge(sandbox, timeout_s=0.4) as judge:
        verdict = judge.judge(MODES[mode](THREADS)).verdict
    assert verdict.verdict == "timeout" and "CPU time" in verdict.detail
    assert 0.4 <= verdict.cpu_s < 0.8, "several cores at once, and a few milliseconds until the worker stops it"


@pytest.mark.parametrize("mode", MODES)
def test_program_has_the_recursion_of_a_script_of_its_own(mode: str, sandbox: Sandbox) -> None:
    inside, outside = 950, 1000
    with Judge(sandbox) as judge:
        assert judge.judge(MODES[mode](RECURSES.format(inside))).verdict.verdict == "passed"
        assert judge.judge(MODES[mode](RECURSES.format(outside))).verdict.verdict == "error"
    found = subprocess.run(
        [sys.executable, "-c", RECURSES.format(990) + "f()"], check=False, capture_output=True
    ).returncode
    assert found == 0, "the interpreter's own limit is 1000"
    with Judge(sandbox) as judge:
        assert judge.judge(MODES[mode](RECURSES.format(990))).verdict.verdict == "passed"


def test_failures_of_the_sandbox_are_reported_not_counted(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: the third attempt's verdict stands. Every time: infra. A sandbox that answers never is one, too."""
    failures = 2
    original = Worker.spawn

    def failing(self: Worker, payload: bytes, descriptors: list[int], limits: Limits, **keys: object) -> int:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise judge_module.WorkerError("broken on purpose")
        return original(self, payload, descriptors, limits)

    monkeypatch.setattr(Worker, "spawn", failing)
    with Judge(sandbox) as judge:
        failures = 2
        assert judge.judge(script("def f(): return 1")).verdict.verdict == "passed"
        failures = 3
        verdict = judge.judge(script("def f(): return 1")).verdict
        assert verdict.verdict == "infra" and not verdict.passed and "broken on purpose" in verdict.detail
