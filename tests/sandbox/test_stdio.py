"""Scripts on standard input and output: what a contest's judge accepts, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from megatron_codex.records import Problem, Verdict
from megatron_codex.sandbox.output import output_difference
from megatron_codex.sandbox.program import Program
from megatron_codex.sandbox.stdio import MAX_OUTPUT_BYTES

JudgeOne = Callable[[Program], Verdict]


def script(source: str, *examples: tuple[str, str], checker: str = "", **keys: Any) -> Program:
    pairs = tuple({"input": given, "output": expected, **keys} for given, expected in examples)
    return Program(source=source, entry_point="", stdio_examples=pairs, checker=checker)


PASSING = {
    "input": ("print(int(input()) ** 2)", "3\n", "9\n"),
    "no_newline_at_the_end": ("print(input(), end='')", "a", "a\n"),
    "prompt_of_input": ("print(input('? '))", "1", "? 1"),
    "stdin_by_lines": ("import sys\nfor line in sys.stdin: print(line.strip()[::-1])", "ab\ncd\n", "ba\ndc\n"),
    "stdin_read": ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "1 2\n3", "6"),
    "stdin_buffer": ("import sys\nsys.stdout.buffer.write(sys.stdin.buffer.readline().upper())", "ab\n", "AB"),
    "open_0": ("print(len(open(0).read()))", "x" * 100, "100"),
    "dev_stdin": ("print(open('/dev/stdin').read()[::-1])", "ab", "ba"),
    "dev_stdin_as_stdin": ("import sys\nsys.stdin = open('/dev/stdin', encoding='utf-8')\nprint(input())", "é\n", "é"),
    "dev_fd_in_binary": ("import io\nprint(len(io.open('/dev/fd/0', 'rb', 0).read(9)))", "äb", "3"),
    "dev_stdin_as_a_path": ("from pathlib import Path\nprint(Path('/dev/stdin').read_text())", "ab", "ab"),
    "dev_stdout": ("with open('/dev/stdout', 'w') as out: out.write('1\\n')\nprint(2)", "", "1\n2"),
    "descriptors": ("import os\nos.write(1, os.read(0, 5))", "hello", "hello"),
    "main_guard": ("def main(): print(1)\nif __name__ == '__main__': main()", "", "1"),
    "sys_exit": ("import sys\nprint(1)\nsys.exit()", "", "1"),
    "sys_exit_0": ("import sys\nprint(1)\nsys.exit(0)", "", "1"),
    "exit_builtin": ("print(1)\nraise SystemExit(False)", "", "1"),
    "os_exit_after_output": ("import os\nprint(1, flush=True)\nos._exit(0)", "", "1"),
    "atexit": ("import atexit\natexit.register(print, 2)\nprint(1)", "", "1\n2"),
    "thread": ("import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print(1))).start()", "", "1"),
    "deep_recursion_in_a_thread": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 26)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(50000)))\nt.start()\nt.join()",
        "",
        "50000",
    ),
    "input_is_not_read": ("print(1)", "x" * (1 << 20), "1"),
    "input_is_closed": ("import os\nos.close(0)\nprint(1)", "x" * (1 << 20), "1"),
    "reads_10_mb": ("import sys\nprint(len(sys.stdin.read()))", "x" * 10_000_000, "10000000"),
    "writes_10_mb": ("print('x' * 10_000_000)", "", "x" * 10_000_000),
    "copies_2_mb": ("import sys\nfor line in sys.stdin: sys.stdout.write(line)", "ab\n" * 700_000, "ab\n" * 700_000),
    "unicode": ("print(input()[::-1])", "äβ😀", "😀βä"),
    "noise_on_stderr": ("import sys\nprint('x' * 200_000, file=sys.stderr)\nprint(1)", "", "1"),
    "own_names": ("import sys, __main__\nx = 5\nprint(__main__.x, sys.argv)", "", "5 ['solution.py']"),
    "dataclass": ("import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int' = 1\nprint(A())", "", "A(x=1)"),
    "closed_stdout": ("import sys\nprint(1)\nsys.stdout.close()", "", "1"),
}


@pytest.mark.parametrize("name", PASSING)
def test_right_script_passes(name: str, judge_one: JudgeOne) -> None:
    source, given, expected = PASSING[name]
    verdict = judge_one(script(source, (given, expected)))
    assert verdict.verdict == "passed", verdict


FAILING = {
    "wrong": ("print(1)", "2", "wrong", "line 1 is '1', expected '2'"),
    "nothing": ("pass", "1", "wrong", "line 1 is '', expected '1'"),
    "too_much": ("print(1)\nprint(2)", "1", "wrong", "line 2 is '2', expected missing"),
    "right_then_raises": ("print(1)\nraise ValueError('b\\x1bad')", "1", "error", r"ValueError: b\x1bad"),
    "right_then_exit_code": ("print(1)\nraise SystemExit(3)", "1", "error", "exit code 3"),
    "right_then_exit_text": ("print(1, flush=True)\nraise SystemExit('gave up')", "1", "error", "gave up"),
    "right_then_os_exit": ("import os\nprint(1, flush=True)\nos._exit(7)", "1", "error", "exit code 7"),
    "right_then_crash": ("import ctypes\nprint(1, flush=True)\nctypes.string_at(0)", "1", "died", "SIGSEGV"),
    "exit_before_output_is_flushed": ("import os\nprint(1)\nos._exit(0)", "1", "wrong", ""),
    "syntax": ("print(1", "1", "error", "SyntaxError"),
    "memory": ("x = 'x' * (1 << 30)\nprint(1)", "1", "error", "MemoryError"),
    "reads_too_far": ("input()\ninput()", "1", "error", "EOFError"),
    "right_then_busy": ("print(1, flush=True)\nwhile True: pass", "1", "timeout", ""),
    "busy_without_descriptors": ("import os\nos.closerange(0, 99)\nwhile True: pass", "1", "timeout", ""),
    "flood": ("while True: print('x' * 65536)", "1", "wrong", f"longer than {MAX_OUTPUT_BYTES} bytes"),
    "flood_of_errors": ("import sys\nwhile True: sys.stderr.write('x' * 65536)", "1", "timeout", ""),
    "looks_for_other_descriptors": (
        "import os\nfound = []\nfor n in range(3, 256):\n    try: os.fstat(n)\n    except OSError: continue\n"
        "    found.append(n)\nprint(found)",
        "1",
        "wrong",
        "'[]'",
    ),
    "forks": ("import os\nos.fork()\nprint(1)", "1", "error", "PermissionError"),
}


@pytest.mark.parametrize("name", FAILING)
def test_script_that_fails(name: str, judge_one: JudgeOne) -> None:
    source, expected, verdict, detail = FAILING[name]
    found = judge_one(script(source, ("1\n", expected)))
    assert (found.verdict, detail in found.detail) == (verdict, True), found
    assert found.detail.startswith("test 1 of 1: ") and found.detail.isprintable() and len(found.detail) < 400


def test_stops_at_the_first_input_that_fails(judge_one: JudgeOne) -> None:
    found = judge_one(script("print(int(input()) // 2)", ("2", "1"), ("5", "3"), ("x", "1")))
    assert (found.verdict, found.detail) == ("wrong", "test 2 of 3: line 1 is '2', expected '3'")


def test_each_input_has_a_process_and_a_cpu_limit_of_its_own(judge_one: JudgeOne) -> None:
    source = """
import os, time
fresh = not os.path.exists("seen") if os.access(".", os.W_OK) else True
if os.access(".", os.W_OK): open("seen", "w").close()
while time.process_time() < 0.25: pass
print(fresh)
"""
    found = judge_one(script(source, *[("", "True")] * 3))
    assert found.verdict == "passed", found
    assert found.cpu_s > 0.6, "cpu_s is of all runs"


CHECKER = """
def check(input, expected, actual):
    a, b = map(int, actual.split())
    assert a > 0, "not positive"
    return a * b == int(input)
"""


@pytest.mark.parametrize(
    ("checker", "output", "verdict", "detail"),
    [
        (CHECKER, "2 6", "passed", ""),
        (CHECKER, "3 4", "passed", ""),
        (CHECKER, "3 5", "wrong", "the checker says no"),
        (CHECKER, "-3 -4", "wrong", "not positive"),
        (CHECKER, "x", "error", "in the checker: ValueError"),
        ("def check(*texts): return 1", "x", "error", "int, not True or False"),
        ("def chekc(*texts): return True", "x", "error", "KeyError"),
        ("def check(*texts):\n    while True: pass", "x", "timeout", "the checker"),
        ("import os\nos._exit(0)", "x", "infra", "the checker gave no verdict"),
        ("def check(i, e, a): return (i, e, a) == ('12', 'é', 'x\\n')", "x", "passed", ""),
    ],
)
def test_checker_decides(checker: str, output: str, verdict: str, detail: str, judge_one: JudgeOne) -> None:
    found = judge_one(script(f"print({output!r})", ("12", "é"), checker=checker))
    assert (found.verdict, detail in found.detail) == (verdict, True), found


def test_checker_does_not_save_a_script_that_fails(judge_one: JudgeOne) -> None:
    always = "def check(*texts): return True"
    assert judge_one(script("1 / 0", ("", ""), checker=always)).verdict == "error"


def test_problem_of_contests_with_a_function_and_a_script(judge_one: JudgeOne) -> None:
    problem = Problem(
        task_id="t",
        prompt='"""Print the square."""\n',
        entry_point="",
        canonical_solution="print(int(input()) ** 2)\n",
        test="",
        stdio_examples=({"input": "3", "output": "9"},),
    )
    assert problem.has_tests
    assert judge_one(Program.of(problem, problem.canonical_solution)).verdict == "passed"
    assert judge_one(Program.of(problem, "print(8)\n")).verdict == "wrong"


@pytest.mark.parametrize(
    ("actual", "expected", "keys", "same"),
    [
        ("1\n2\n", "1\n2", {}, True),
        ("1 \r\n2\t\n\n\n", "1\n2", {}, True),
        ("1 2", "1\n2", {}, False),
        (" 1", "1", {}, False),
        ("\n1", "1", {}, False),
        ("1\n\n2", "1\n2", {}, False),
        ("1  2", "1 2", {}, False),
        ("A", "a", {}, False),
        ("1.0", "1", {}, False),
        ("1 2\n3", "1\n2   3\n", {"compare": "tokens"}, True),
        ("1 2", "12", {"compare": "tokens"}, False),
        ("1 2 3", "1 2", {"compare": "tokens"}, False),
        ("1 2", "1 2 3", {"compare": "tokens"}, False),
        ("0.3333333 x", "0.33333333 x", {"tolerance": 1e-6}, True),
        ("0.33 x", "0.33333333 x", {"tolerance": 1e-6}, False),
        ("0.33333 y", "0.33333333 x", {"tolerance": 1e-3}, False),
        ("2", "2.0", {"tolerance": 0.0}, True),
        ("2.0000001", "2", {"tolerance": 1e-6}, True),
        ("100000001", "100000000", {"tolerance": 1e-6}, False),
        ("1e3", "1000.0", {"tolerance": 0.0}, True),
        ("nan", "1.5", {"tolerance": 1e9}, False),
        ("inf", "1.5", {"tolerance": 1e9}, False),
        ("1e99999", "1.5", {"tolerance": 1e9}, False),
        ("1_0.0", "10.0", {"tolerance": 1e-6}, False),
        ("1.001", "1.0", {"tolerance": 0.0, "relative_tolerance": 0.01}, True),
        ("", "", {}, True),
        ("", " \n", {}, True),
    ],
)
def test_output_is_compared(actual: str, expected: str, keys: dict[str, Any], same: bool) -> None:
    assert (output_difference(actual.encode(), {"output": expected, **keys}) == "") is same


def test_bytes_that_are_no_text_are_compared_and_shown() -> None:
    assert "\\ufffd" in ascii(output_difference(b"\xff", {"output": "a"}))
