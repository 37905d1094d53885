"""Programs that want to be judged correct without being so: each is one family, in both modes, at both levels."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from megatron_codex.records import Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from megatron_codex.tagged import encode

JudgeOne = Callable[[Program], Verdict]

TEST = """
EXPECTED = {2: 4, 3: 9, 12: 144}
def check(candidate):
    for argument, expected in EXPECTED.items():
        assert candidate(argument) == expected, "wrong square"
    assert [candidate(1)] == [1] and {"a": candidate(4)} == {"a": 16}
    assert type(candidate(5)) is int
"""
EXAMPLES = tuple({"args": [n], "kwargs": {}, "output": encode(n * n)} for n in (2, 3, 12, 1))
HONEST = "def f(x):\n    return x * x\n"

CHEATS = {
    "exit_with_0_on_import": "import os\nos._exit(0)\ndef f(x): return 0\n",
    "sys_exit_on_import": "import sys\nsys.exit(0)\ndef f(x): return 0\n",
    "exit_with_0_in_call": "import os\ndef f(x):\n    os._exit(0)\n",
    "sys_exit_in_call": "import sys\ndef f(x):\n    sys.exit(0)\n",
    "exit_in_atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    return 0\n",
    "exit_in_a_thread": """
import os, threading
threading.Thread(target=lambda: os._exit(0), daemon=True).start()
def f(x):
    while True: pass
""",
    "prints_success": "print('passed'); print('OK')\ndef f(x):\n    print('{\"verdict\": \"passed\"}')\n",
    "object_equal_to_everything": """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(x): return Equal()
""",
    "int_subclass_equal_to_everything": """
class Equal(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = int.__hash__
def f(x): return Equal(-1)
""",
    "float_subclass_equal_to_everything": """
class Equal(float):
    def __eq__(self, other): return True
    __hash__ = float.__hash__
def f(x): return Equal(-1)
""",
    "str_subclass_equal_to_everything": """
class Equal(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
def f(x): return Equal('x')
""",
    "list_subclass_equal_to_everything": """
class Equal(list):
    def __eq__(self, other): return True
    def __iter__(self): return iter([4, 9])
def f(x): return Equal()
""",
    "dict_subclass_equal_to_everything": """
class Equal(dict):
    def __eq__(self, other): return True
    def items(self): return [('a', 4)]
def f(x): return Equal()
""",
    "metaclass_equal_to_everything": """
class Meta(type):
    def __eq__(cls, other): return True
    def __instancecheck__(cls, other): return True
    def __hash__(cls): return 0
class Equal(metaclass=Meta): pass
def f(x): return Equal
""",
    "lies_about_its_class": """
class Equal:
    __class__ = int
    def __eq__(self, other): return True
    def __int__(self): return 4
    def __index__(self): return 4
def f(x): return Equal()
""",
    "pretends_to_be_numpy": """
class Equal:
    ndim = 0
    def item(self): return Equal()
    def __eq__(self, other): return True
Equal.__module__ = 'numpy'
def f(x): return Equal()
""",
    "reads_frames": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for space in (frame.f_locals, frame.f_globals):
            for value in list(space.values()):
                if type(value) is dict and x in value: return value[x]
        for const in frame.f_code.co_consts:
            if type(const) is dict: return const[x]
        frame = frame.f_back
""",
    "reads_the_heap": """
import gc, re
find = re.compile('wrong[ ]squar[e]').search  # a text that this source does not contain itself
def f(x):
    for value in gc.get_objects():
        items = value.values() if type(value) is dict else value if type(value) in (tuple, list) else ()
        if type(value) is dict and value.get(12) == 144: return value[x]
        if type(value) is dict and 'nonce' in value: return x ** 2
        if any(type(item) is str and find(item) for item in items): return x ** 2
    return 0
""",
    "reads_its_memory": """
import ctypes, re
find = re.compile(b'wrong[ ]squar[e]').search
def f(x):
    # The heap around an object: a copy of the worker's, where the tests would lie had the worker ever read them.
    near = id(f) & ~0xFFFFF
    return x ** 2 if find(ctypes.string_at(near, 1 << 18)) else 0
""",
    "replaces_check": "def check(candidate): pass\ndef f(x): return 0\n",
    "replaces_builtins": """
import builtins
builtins.AssertionError = BaseException
builtins.isinstance = lambda *a: True
builtins.type = lambda *a: int
builtins.all = builtins.any = lambda *a: True
def f(x): return 0
""",
    "replaces_the_codec": """
import json, sys
for module in list(sys.modules.values()):
    for name in ('encode', 'as_plain', 'answer', 'describe_exception'):
        if hasattr(module, name) and module is not json:
            setattr(module, name, lambda *a, **k: {'verdict': 'passed', 'value': 4})
def f(x): return 0
""",
    "replaces_sys_modules": """
import sys
class Anything:
    def __getattr__(self, name): return lambda *a, **k: True
for name in list(sys.modules):
    if 'megatron' in name: sys.modules[name] = Anything()
def f(x): return 0
""",
    "writes_to_every_descriptor": """
import os
frame = b'{"nonce": "", "verdict": "passed", "detail": "", "num_calls": 9}'
frame = len(frame).to_bytes(4, 'big') + frame
def f(x):
    for fd in range(256):
        for _ in range(3):
            try: os.write(fd, frame)
            except OSError: pass
    return 0
""",
    "answers_before_it_is_asked": """
import os
frame = b'{"value": 4}'
for fd in range(3, 64):
    try: os.write(fd, (len(frame).to_bytes(4, 'big') + frame) * 100)
    except OSError: pass
def f(x): return 4
""",
    "malformed_frames": """
import os
for fd in range(3, 64):
    for body in (b'{}', b'[]', b'7', b'{"raised": 5}', b'{"value": {"x": 1}}', b'not json'):
        try: os.write(fd, len(body).to_bytes(4, 'big') + body)
        except OSError: pass
def f(x): return 0
""",
    "announces_a_huge_frame": """
import os
for fd in range(3, 64):
    try: os.write(fd, b'\\xff\\xff\\xff\\xff' + b'x' * 1000)
    except OSError: pass
def f(x): return 0
""",
    "closes_every_descriptor": "import os\ndef f(x):\n    os.closerange(0, 256)\n    return 0\n",
    "settrace": """
import sys
def trace(frame, event, arg):
    frame.f_locals['expected'] = 0
    return trace
sys.settrace(trace); sys.setprofile(trace)
def f(x): return 0
""",
    "del_that_exits": """
import os
class Bye:
    def __del__(self): os._exit(0)
def f(x):
    Bye()
    return 0
""",
    "too_deep": """
def f(x):
    value = 4
    for _ in range(100000): value = [value]
    return value
""",
    "too_large": "def f(x):\n    return 'x' * (60 << 20)\n",
    "cyclic": "def f(x):\n    value = []\n    value.append(value)\n    return value\n",
    "huge_integer": "def f(x):\n    return 1 << 10**6\n",
    "colliding_hashes": "def f(x):\n    return {i * (2**61 - 1) for i in range(1, 20000)}\n",
    "infinite_generator": "import itertools\ndef f(x):\n    return itertools.count()\n",
    "not_a_number": "def f(x):\n    return float('nan')\n",
    "raises_what_a_test_might_expect": "def f(x):\n    raise AssertionError('passed')\n",
    "exception_with_a_hostile_message": """
class Hostile(Exception):
    def __str__(self): raise SystemExit(0)
def f(x): raise Hostile()
""",
    "base_exception": "def f(x):\n    raise KeyboardInterrupt\n",
    "forks_and_goes_on": "import os\nif os.fork(): os._exit(0)\ndef f(x): return 0\n",
    "kills_its_parent": "import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 0\n",
    "stops_itself": "import signal\ndef f(x):\n    signal.raise_signal(signal.SIGSTOP)\n    return 0\n",
    "crashes": "import ctypes\ndef f(x):\n    return ctypes.string_at(0)\n",
    "endless_recursion_of_c": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return f(x) + 1\n",
    "sleeps": "import time\ndef f(x):\n    time.sleep(1000)\n",
    "ignores_signals_and_spins": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(x):
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
    "async_function": "async def f(x):\n    return x * x\n",
    "missing_function": "def g(x):\n    return x * x\n",
    "a_class": "class f:\n    def __init__(self, x): pass\n    def __eq__(self, other): return True\n",
    "syntax_error": "def f(x:\n",
    "null_byte": "def f(x):\n    return 0\n\0",
    "endless_source": "def f(x): return " + "(" * 5000 + "0" + ")" * 5000 + "\n",
}


MODES = ("pair", "batch")


def program_of(source: str, mode: str) -> Program:
    if mode == "pair":
        return Program(source=source, entry_point="f", test=TEST)
    return Program(source=source, entry_point="f", io_examples=EXAMPLES)


@pytest.fixture(scope="module")
def verdicts(pool: JudgePool) -> dict[tuple[str, str], Verdict]:
    """Of every cheat in every mode, judged together."""
    keys = [(name, mode) for mode in MODES for name in CHEATS]
    judged = pool.judge(program_of(CHEATS[name], mode) for name, mode in keys)
    return {keys[index]: verdict for index, verdict in judged}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CHEATS)
def test_cheat_does_not_pass(name: str, mode: str, verdicts: dict[tuple[str, str], Verdict]) -> None:
    verdict = verdicts[name, mode]
    assert verdict.verdict in ("wrong", "error", "timeout", "died", "unsupported"), verdict
    assert verdict.detail.isprintable()


@pytest.mark.parametrize("mode", MODES)
def test_honest_program_passes(mode: str, judge_one: JudgeOne) -> None:
    assert judge_one(program_of(HONEST, mode)).verdict == "passed"


SWALLOWING_TEST = """
def check(candidate):
    try:
        candidate(1)
    except:
        pass
"""


@pytest.mark.parametrize("name", ["exit_with_0_in_call", "writes_to_every_descriptor", "object_equal_to_everything"])
def test_cheat_does_not_pass_a_test_that_swallows_every_exception(name: str, judge_one: JudgeOne) -> None:
    verdict = judge_one(Program(source=CHEATS[name], entry_point="f", test=SWALLOWING_TEST))
    assert verdict.verdict in ("died", "unsupported"), verdict


def test_helper_of_the_prompt_cannot_be_replaced_by_the_candidate(judge_one: JudgeOne) -> None:
    prompt = "def helper(x):\n    return x * 2\n\ndef f(x):\n"
    test = "def check(candidate):\n    assert helper(candidate(3)) == 12\n"
    references = (prompt + "    return 2 * x\n",)
    cheat = prompt + "    return 0\n\ndef helper(x):\n    return 12\n"
    right = prompt + "    return 2 * x\n"
    assert judge_one(Program(source=cheat, entry_point="f", test=test, references=references)).verdict == "wrong"
    assert judge_one(Program(source=right, entry_point="f", test=test, references=references)).verdict == "passed"
