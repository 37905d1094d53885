"""Programs that want to be judged correct without being so (cheats/): each in every mode, at both levels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.program import Program
from tests.sandbox.cheats.all import FAMILIES
from tests.sandbox.cheats.family import MODES, TASKS, Family, is_judged_in

JudgeOne = Callable[[Program], Verdict]
KEYS = [(name, mode) for mode in MODES for name in FAMILIES if is_judged_in(mode, FAMILIES[name])]
TIMEOUT_S = 0.25
"""Short: some sleep until they are stopped, twice."""


@pytest.fixture(scope="module")
def verdicts(level: str, features: KernelFeatures) -> dict[tuple[str, str], Verdict]:
    """Of every family in every mode, judged together."""
    found = features if level == "A" else features.without_namespaces()
    programs = (MODES[mode](TASKS[FAMILIES[name].task], FAMILIES[name].source) for name, mode in KEYS)
    with JudgePool(2, timeout_s=TIMEOUT_S, memory_bytes=512 << 20, allow_level_b=True, features=found) as pool:
        return {KEYS[index]: verdict for index, verdict in pool.judge(programs)}


@pytest.mark.parametrize(("name", "mode"), KEYS)
def test_cheat_does_not_pass(name: str, mode: str, verdicts: dict[tuple[str, str], Verdict]) -> None:
    verdict = verdicts[name, mode]
    assert verdict.verdict in ("wrong", "error", "timeout", "died", "unsupported"), verdict
    assert verdict.detail.isprintable()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", TASKS)
def test_honest_program_passes(task: str, mode: str, judge_one: JudgeOne) -> None:
    if not is_judged_in(mode, Family(tries="", source="", task=task)):
        pytest.skip("exceptions have no form as a script, values of other types only in a test's source")
    verdict = judge_one(MODES[mode](TASKS[task], TASKS[task].honest))
    assert verdict.verdict == "passed", verdict


SWALLOWING_TEST = """
def check(candidate):
    try:
        candidate(1)
    except:
        pass
"""


@pytest.mark.parametrize("name", ["exit_with_0_in_call", "writes_to_every_descriptor", "object_equal_to_everything"])
def test_cheat_does_not_pass_a_test_that_swallows_every_exception(name: str, judge_one: JudgeOne) -> None:
    verdict = judge_one(Program(source=FAMILIES[name].source, entry_point="f", test=SWALLOWING_TEST))
    assert verdict.verdict in ("died", "unsupported"), verdict


def test_helper_of_the_prompt_cannot_be_replaced_by_the_candidate(judge_one: JudgeOne) -> None:
    prompt = "def helper(x):\n    return x * 2\n\ndef f(x):\n"
    test = "def check(candidate):\n    assert helper(candidate(3)) == 12\n"
    references = (prompt + "    return 2 * x\n",)
    cheat = prompt + "    return 0\n\ndef helper(x):\n    return 12\n"
    right = prompt + "    return 2 * x\n"
    assert judge_one(Program(source=cheat, entry_point="f", test=test, references=references)).verdict == "wrong"
    assert judge_one(Program(source=right, entry_point="f", test=test, references=references)).verdict == "passed"
