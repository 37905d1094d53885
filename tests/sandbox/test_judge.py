"""What the judge says of honest programs and of tests of many kinds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from megatron_codex.errors import InputError
from megatron_codex.records import Verdict
from megatron_codex.sandbox import judge as judge_module
from megatron_codex.sandbox.conclusion import Judgement, printable
from megatron_codex.sandbox.judge import Judge
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from megatron_codex.tagged import encode

JudgeOne = Callable[[Program], Verdict]


def pair(source: str, checks: str, *, entry_point: str = "f") -> Program:
    body = "".join(f"    {line}\n" for line in checks.strip().splitlines())
    return Program(source=source, entry_point=entry_point, test=f"def check(candidate):\n{body}")


def batch(source: str, *examples: dict[str, object]) -> Program:
    return Program(source=source, entry_point="f", io_examples=examples)


PASSING = {
    "plain_data_of_every_type": (
        "def f(*a, **k): return [a, k]",
        "for v in (None, True, 1, 2**70, -0.5, 1j, 'é\\ud800\\0', b'x', [1, [2]], (1, (2,)), {1: 'a', (1,): 2}, {1}, "
        "frozenset({1}), range(2, 9, 3), bytearray(b'y'), float('inf')):\n"
        "        r = candidate(v, x=v)\n"
        "        assert r == [(v,), {'x': v}] and type(r[0][0]) is type(v)",
    ),
    "nan": ("def f(): return float('nan')", "x = candidate()\nassert x != x"),
    "counter_equals_dict": (
        "from collections import Counter, OrderedDict, defaultdict, namedtuple\nimport enum\n"
        "P = namedtuple('P', 'x y')\nclass E(enum.IntEnum):\n    A = 3\n"
        "def f(): return [Counter('aab'), OrderedDict(a=1), defaultdict(int, b=2), P(1, 2), E.A]",
        "assert candidate() == [{'a': 2, 'b': 1}, {'a': 1}, {'b': 2}, (1, 2), 3]",
    ),
    "numpy_scalars": (
        "import numpy as np\ndef f(): return [np.int64(3), np.float32(0.5), np.bool_(True), np.float64(1.5)]",
        "assert candidate() == [3, 0.5, True, 1.5]",
    ),
    "generator_is_an_iterator": (
        "def f(n):\n    for i in range(n): yield i",
        "assert list(candidate(3)) == [0, 1, 2]\nassert candidate(3) != [0, 1, 2]\nassert sum(candidate(4)) == 6",
    ),
    "argument_changed_in_place": (
        "def f(x, d, t):\n    x.sort(); x[1].append(9); d['k'] = 1; t[0].clear()",
        "inner = [2]\nx, d, t = [[3], inner], {}, ([1],)\nassert candidate(x, d, t) is None\n"
        "assert x == [[2], [3, 9]] and d == {'k': 1} and t == ([],)",
    ),
    "changed_argument_is_returned": (
        "def f(x):\n    x.append(1)\n    return x",
        "x = []\nassert candidate(x) is x == [1]",
    ),
    "changed_before_raising": (
        "def f(x):\n    x.append(1)\n    raise ValueError",
        "x = []\ntry: candidate(x)\nexcept ValueError: pass\nassert x == [1]",
    ),
    "exceptions_of_builtin_kinds": (
        "class Mine(KeyError): pass\ndef f(x):\n    raise {1: ValueError('no'), 2: Mine('k'), 3: UnicodeDecodeError("
        "'utf-8', b'x', 0, 1, 'bad'), 4: AssertionError('a')}[x]",
        "for n, kind in ((1, ValueError), (2, KeyError), (3, ValueError), (4, AssertionError)):\n"
        "        try: candidate(n)\n        except kind as error: assert n != 1 or str(error) == 'no'\n"
        "        else: raise RuntimeError('not raised')",
    ),
    "state_between_calls": (
        "c = []\ndef f():\n    c.append(1)\n    return len(c)",
        "assert [candidate(), candidate()] == [1, 2]",
    ),
    "module_names": (
        "from dataclasses import dataclass\nfrom typing import ClassVar, NamedTuple\n@dataclass\nclass D:\n"
        "    x: 'ClassVar[int]' = 1\ndef f(): return __name__ != '__main__' and __import__(__name__).D.x",
        "assert candidate() == 1",
    ),
    "future_import": (
        "from __future__ import annotations\ndef f(x: Nope) -> Nope: return x",
        "assert candidate(1) == 1",
    ),
    "threads": (
        "import concurrent.futures as c\ndef f(x):\n    with c.ThreadPoolExecutor(4) as e: return list(e.map(abs, x))",
        "assert candidate([-1, 2]) == [1, 2]",
    ),
    "prints": ("def f(x):\n    print('x' * 10**6)\n    return x", "assert candidate(1) == 1"),
    "many_calls": ("def f(x): return x", "for i in range(500): assert candidate(i) == i"),
    "large_source": ("x = '" + "y" * (1 << 20) + "'\ndef f(): return len(x)", "assert candidate() == 1 << 20"),
    "scratch_free_of_random_state": ("import random\ndef f(): return random.random()", "assert 0 <= candidate() < 1"),
}


@pytest.mark.parametrize("name", PASSING)
def test_right_program_passes(name: str, judge_one: JudgeOne) -> None:
    verdict = judge_one(pair(*PASSING[name]))
    assert verdict.verdict == "passed", verdict


VERDICTS = {
    "wrong": ("def f(x): return x", "assert candidate(1) == 2, 'the message'", "wrong", "the message"),
    "raises": ("def f(x): return 1 // 0", "assert candidate(1) == 2", "error", "ZeroDivisionError"),
    "assertion_of_its_own": ("def f(x): assert False, 'mine'", "candidate(1)", "error", "AssertionError: mine"),
    "syntax": ("def f(x) return x", "assert candidate(1) == 1", "error", "SyntaxError"),
    "undefined": ("def g(x): return x", "assert candidate(1) == 1", "error", "'f' is not defined"),
    "raises_on_import": ("raise OSError('boom')\ndef f(x): return x", "assert candidate(1) == 1", "error", "boom"),
    "type_error_in_test": ("def f(x): return None", "assert candidate(1)[0] == 1", "error", "in the tests: TypeError"),
    "object_returned": ("def f(x): return object()", "assert candidate(1) == 1", "unsupported", "object"),
    "class_argument": (
        "def f(x): return 1",
        "class Own: pass\nassert candidate(Own()) == 1",
        "unsupported",
        "not plain data: Own",
    ),
    "no_call": ("def f(x): return x", "pass", "unsupported", "never call"),
    "broken_test": ("def f(x): return x", "nonsense()", "unsupported", "nonsense"),
    "exit": ("import os\ndef f(x): os._exit(3)", "candidate(1)", "died", "exit code 3"),
    "busy": ("def f(x):\n    while True: pass", "candidate(1)", "timeout", "used up"),
    "busy_on_import": ("while True: pass\ndef f(x): pass", "candidate(1)", "timeout", "used up"),
    "busy_test": ("def f(x): return x", "candidate(1)\nwhile True: pass", "timeout", "the tests used up"),
    "control_characters": (
        "def f(x): raise ValueError('\\x1b[31m\\n\\u202e')",
        "candidate(1)",
        "error",
        r"\x1b[31m\n\u202e",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict_and_detail(name: str, judge_one: JudgeOne) -> None:
    source, checks, verdict, detail = VERDICTS[name]
    found = judge_one(pair(source, checks))
    assert (found.verdict, detail in found.detail) == (verdict, True), found
    assert found.detail.isprintable() and len(found.detail) < 400


def test_test_without_check_is_unsupported(judge_one: JudgeOne) -> None:
    program = Program(source="def f(): return 1", entry_point="f", test="def chekc(candidate): pass")
    verdict = judge_one(program)
    assert verdict.verdict == "unsupported" and "check(candidate)" in verdict.detail


def test_batch_compares_values_exceptions_and_keywords(judge_one: JudgeOne) -> None:
    source = "def f(x, *, y=0):\n    if x is None: raise LookupError('none')\n    return {x: [x + y, float('nan')]}"
    nan = float("nan")
    good = {"args": [1], "kwargs": {"y": 2}, "output": encode({1: [3, nan]})}
    raises = {"args": [None], "kwargs": {}, "raises": "LookupError"}
    assert judge_one(batch(source, good, raises)).verdict == "passed"
    wrong = judge_one(batch(source, good, {**good, "output": encode({1: [4, nan]})}))
    assert wrong.verdict == "wrong" and "call 2 of 2" in wrong.detail
    assert judge_one(batch(source, {**raises, "raises": "KeyError"})).verdict == "wrong"
    assert judge_one(batch(source, {**good, "args": [None]})).verdict == "error"
    assert judge_one(batch(source, {"args": [1], "kwargs": {}, "raises": "LookupError"})).verdict == "wrong"


def test_batch_iterator_is_not_a_list(judge_one: JudgeOne) -> None:
    example = {"args": [], "kwargs": {}, "output": [1]}
    assert judge_one(batch("def f(): return iter([1])", example)).verdict == "wrong"


def test_both_kinds_of_tests_must_pass(judge_one: JudgeOne) -> None:
    example = ({"args": [2], "kwargs": {}, "output": 4},)
    test = "def check(candidate):\n    assert candidate(3) == 9"
    right = "def f(x): return x * x"
    assert judge_one(Program(source=right, entry_point="f", test=test, io_examples=example)).verdict == "passed"
    only_one = "def f(x): return 4"
    assert judge_one(Program(source=only_one, entry_point="f", test=test, io_examples=example)).verdict == "wrong"
    only_other = "def f(x): return 9"
    assert judge_one(Program(source=only_other, entry_point="f", test=test, io_examples=example)).verdict == "wrong"


def test_program_without_tests_is_refused() -> None:
    with pytest.raises(InputError, match="neither test nor io_examples"):
        Program(source="def f(): pass", entry_point="f")


def test_printable_escapes_and_cuts() -> None:
    assert printable("a\x1b\n\ud800") == r"a\x1b\n\ud800"
    assert len(printable("x" * 10_000)) < 400


def test_indices_name_the_programs_and_every_program_is_judged_once(pool: JudgePool) -> None:
    def programs() -> Iterator[Program]:
        for number in range(40):
            yield pair(f"def f(): return {number % 2}", "assert candidate() == 1")

    verdicts = dict(pool.judge(programs()))
    assert sorted(verdicts) == list(range(40))
    assert all(verdict.verdict == ("passed" if number % 2 else "wrong") for number, verdict in verdicts.items())


def test_programs_are_read_only_as_workers_become_free(pool: JudgePool) -> None:
    taken = 0

    def programs() -> Iterator[Program]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield pair("def f(): return 1", "assert candidate() == 1")

    judged = pool.judge(programs())
    next(judged)
    assert taken <= 2 * pool.num_workers + 1
    assert len(list(judged)) == 99


def test_program_that_only_waited_is_judged_again_alone(pool: JudgePool, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[int] = []
    seen: list[tuple[str, int]] = []
    original = Judge.judge

    def recording(self: Judge, program: Program) -> Judgement:
        busy.append(1)
        judgement = original(self, program)
        seen.append((program.source, len(busy)))
        busy.pop()
        return judgement

    monkeypatch.setattr(Judge, "judge", recording)
    sleeper = "import time\ndef f(): time.sleep(99)"
    programs = [pair(sleeper, "candidate()"), *(pair("def f(): return 1", "assert candidate() == 1") for _ in range(5))]
    verdicts = dict(pool.judge(programs))
    assert verdicts[0].verdict == "timeout"
    assert [source for source, _ in seen].count(sleeper) == 2
    assert seen[-1] == (sleeper, 1), "the second time it must be alone"


def test_dead_worker_is_replaced_and_its_program_judged_again(pool: JudgePool) -> None:
    with Judge(pool.sandbox, timeout_s=1) as judge:
        assert judge.judge(pair("def f(): return 1", "assert candidate() == 1")).verdict.passed
        assert judge._worker is not None
        doomed = judge._worker._process.pid
        threading.Timer(0.3, os.kill, (doomed, signal.SIGKILL)).start()
        slow = pair("import time\ndef f():\n    time.sleep(0.6)\n    return 1", "assert candidate() == 1")
        assert judge.judge(slow).verdict.passed
        assert judge._worker._process.pid != doomed


def test_failure_of_the_sandbox_is_no_verdict_on_the_program(pool: JudgePool, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[float] = []

    def failing(self: Judge, program: Program) -> Judgement:
        attempts.append(time.monotonic())
        raise judge_module.WorkerError("broken on purpose")

    monkeypatch.setattr(Judge, "_judge_once", failing)
    with Judge(pool.sandbox) as judge:
        verdict = judge.judge(pair("def f(): return 1", "assert candidate() == 1")).verdict
    assert verdict.verdict == "infra" and "broken on purpose" in verdict.detail and not verdict.passed
    assert len(attempts) == 3


def test_forged_report_of_the_tester_is_not_believed(pool: JudgePool) -> None:
    """A test that writes a verdict itself (it does not know the nonce), or dies after a true one, gives none."""
    forging = (
        "import os\ndef check(candidate):\n    candidate()\n"
        '    body = b\'{"nonce": "0", "verdict": "passed", "detail": "", "num_calls": 1}\'\n'
        "    for fd in range(3, 9):\n        try: os.write(fd, len(body).to_bytes(4, 'big') + body)\n"
        "        except OSError: pass\n    os._exit(0)\n"
    )
    dying = "import os\nleave = os._exit\nos._exit = lambda code: leave(1)\ndef check(candidate):\n    candidate()\n"
    with Judge(pool.sandbox) as judge:
        for test in (forging, dying):
            verdict = judge.judge(Program(source="def f(): return 1", entry_point="f", test=test)).verdict
            assert verdict.verdict == "infra", (test, verdict)
