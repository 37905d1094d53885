"""Values, exceptions and endings that are hard to judge: whoever stumbles over one may call it passed, or infra."""

from __future__ import annotations

from tests.sandbox.cheats.family import Family

CHEATS = {
    "too_deep": Family(
        tries="answer with a value that is nested too deep",
        source="""
def f(x):
    value = 4
    for _ in range(100000): value = [value]
    return value
""",
    ),
    "too_large": Family(tries="answer with 60 MB", source="def f(x):\n    return 'x' * (60 << 20)\n"),
    "too_large_a_source": Family(
        tries="be a program of more than a frame's size",
        source="# " + "x" * (9 << 20) + "\ndef f(x): return 0\n",
    ),
    "cyclic": Family(
        tries="answer with a list that holds itself",
        source="def f(x):\n    value = []\n    value.append(value)\n    return value\n",
    ),
    "huge_integer": Family(tries="answer with a million bits", source="def f(x):\n    return 1 << 10**6\n"),
    "huge_integer_in_a_message": Family(
        tries="answer with an integer that cannot be printed, so that the test's own message fails",
        task="messages",
        source="def f(x):\n    return 10 ** 6000\n",
    ),
    "colliding_hashes": Family(
        tries="answer with a set whose hashes collide",
        source="def f(x):\n    return {i * (2**61 - 1) for i in range(1, 20000)}\n",
    ),
    "surrogates": Family(
        tries="answer with text that no encoding takes",
        task="messages",
        source="def f(x):\n    return '\\ud800\\udfff' * 9 + '\\x1b[2J'\n",
    ),
    "not_a_number": Family(
        tries="answer with nan, with which no comparison holds", task="floats", source="def f(x): return float('nan')\n"
    ),
    "infinity": Family(tries="answer with inf", task="floats", source="def f(x): return float('inf')\n"),
    "negative_zero": Family(
        tries="answer with -0.0 and False for 0", task="floats", source="def f(x): return -0.0 if x > 3 else False\n"
    ),
    "true_for_one": Family(tries="answer with True, which equals 1", source="def f(x): return True\n"),
    "changes_its_argument": Family(
        tries="empty the list it was handed and return it: the test compares two empty lists",
        task="reversed_lists",
        source="def f(x):\n    x.clear()\n    return x\n",
    ),
    "changes_an_earlier_argument": Family(
        tries="keep each argument and change it in a later call",
        task="reversed_lists",
        source="""
kept = []
def f(x):
    for each in kept: each.clear()
    kept.append(x)
    return []
""",
    ),
    "fills_its_argument_with_objects": Family(
        tries="put an object that equals everything into the list it was handed",
        task="reversed_lists",
        source="""
class Equal:
    def __eq__(self, other): return True
def f(x):
    x[:] = [Equal()]
    return x
""",
    ),
    "raises_what_a_test_might_expect": Family(
        tries="raise AssertionError itself", source="def f(x):\n    raise AssertionError('passed')\n"
    ),
    "raises_stop_iteration": Family(
        tries="end the tests' map and all, which take StopIteration for the end of their calls",
        task="mapped",
        source="def f(x):\n    raise StopIteration\n",
    ),
    "raises_in_a_test_that_swallows": Family(
        tries="break the channel where a test catches everything",
        fools=("naive",),
        task="swallowed",
        source="import os\ndef f(x):\n    os._exit(0)\n",
    ),
    "object_in_a_test_that_swallows": Family(
        tries="answer with what cannot be judged where a test catches everything",
        task="swallowed",
        source="def f(x):\n    return object()\n",
    ),
    "class_named_as_the_expected_exception": Family(
        tries="raise exceptions of its own that are called ValueError and TypeError",
        task="refusals",
        source="""
class TypeError(Exception): pass
class ValueError(TypeError): pass
def f(x): raise ValueError('both')
""",
    ),
    "exception_of_several_kinds": Family(
        tries="raise one exception that is a ValueError and a TypeError",
        task="refusals",
        source="class Both(ValueError, TypeError): pass\ndef f(x): raise Both\n",
    ),
    "exception_with_a_hostile_message": Family(
        tries="raise an exception whose message raises SystemExit",
        source="""
class Hostile(Exception):
    def __str__(self): raise SystemExit(0)
def f(x): raise Hostile()
""",
    ),
    "exception_with_a_hostile_class": Family(
        tries="raise an exception whose class lies about its name and bases",
        task="refusals",
        source="""
class Meta(type):
    __name__ = property(lambda cls: 'ValueError')
    __mro__ = property(lambda cls: (ValueError, TypeError))
    def __getattribute__(cls, name):
        if name == '__mro__': return (ValueError, TypeError)
        return 'ValueError' if name == '__name__' else type.__getattribute__(cls, name)
class Hostile(Exception, metaclass=Meta): pass
def f(x): raise Hostile
""",
    ),
    "exception_group": Family(
        tries="raise every expected exception at once, as a group",
        task="refusals",
        source="def f(x): raise ExceptionGroup('all', [ValueError(), TypeError()])\n",
    ),
    "base_exception": Family(tries="raise KeyboardInterrupt", source="def f(x):\n    raise KeyboardInterrupt\n"),
    "generator_exit": Family(tries="raise GeneratorExit", source="def f(x):\n    raise GeneratorExit\n"),
    "out_of_memory": Family(
        tries="use up its memory and answer in the rest",
        source="""
kept = []
def f(x):
    try:
        while True: kept.append(bytes(1 << 22))
    except MemoryError: return 0
""",
    ),
    "out_of_descriptors": Family(
        tries="leave the harness no descriptor to work with",
        source="""
kept = []
def f(x):
    try:
        while True: kept.append(open('/dev/null'))
    except OSError: return 0
""",
    ),
    "tiny_recursion_limit": Family(
        tries="leave the harness no stack to work with",
        source="""
import sys
def f(x):
    for limit in range(1, 60):
        try: sys.setrecursionlimit(limit); break
        except RecursionError: pass
    return 0
""",
    ),
    "endless_recursion_of_c": Family(
        tries="overflow the stack", source="import sys\nsys.setrecursionlimit(10**9)\ndef f(x):\n    return f(x) + 1\n"
    ),
    "endless_switch_interval": Family(
        tries="never let another thread run",
        source="""
import sys, threading, time
sys.setswitchinterval(1000)
def spin():
    while True: pass
def f(x):
    threading.Thread(target=spin, daemon=True).start()
    return 0
""",
    ),
    "crashes": Family(tries="crash", source="import ctypes\ndef f(x):\n    return ctypes.string_at(0)\n"),
    "abandoned_by_faulthandler": Family(
        tries="have faulthandler end the process from a thread of C",
        source="""
import faulthandler, os
def f(x):
    faulthandler.dump_traceback_later(0.01, exit=True, file=open(os.devnull, 'w'))
    while True: pass
""",
    ),
    "kills_itself_by_every_signal": Family(
        tries="die of a signal that looks like the machine's doing",
        source="""
import signal
def f(x):
    for number in (9, *range(1, 9), *range(10, 65)):
        if number not in (17, 18, 19, 20, 21, 22, 23, 28):
            try: signal.raise_signal(number)
            except (OSError, ValueError, KeyboardInterrupt): pass
    return 0
""",
    ),
    "kills_itself_when_its_channel_is_read": Family(
        tries="have the kernel send it SIGKILL, which looks like the machine's doing (F_SETSIG)",
        source="""
import fcntl, os, signal
def f(x):
    for descriptor in range(3, 64):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(descriptor, 10, signal.SIGKILL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_ASYNC)
        except OSError: pass
    return 0
""",
    ),
    "kills_its_parent": Family(
        tries="take the harness along",
        source="import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 0\n",
    ),
    "stops_itself": Family(
        tries="stop, and neither answer nor end",
        source="import signal\ndef f(x):\n    signal.raise_signal(signal.SIGSTOP)\n    return 0\n",
    ),
    "sleeps": Family(tries="wait for the harness to give up", source="import time\ndef f(x):\n    time.sleep(1000)\n"),
    "ignores_signals_and_spins": Family(
        tries="outlive its time limit",
        source="""
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
    ),
    "spins_after_its_answer": Family(
        tries="answer wrongly while a thread keeps the processor busy",
        source="""
import hashlib, threading
data = bytes(1 << 24)
def spin():
    while True: hashlib.sha256(data)
for _ in range(4): threading.Thread(target=spin, daemon=True).start()
def f(x): return 0
""",
    ),
    "missing_function": Family(tries="define nothing that could fail", source="def g(x):\n    return x * x\n"),
    "function_that_is_no_function": Family(tries="be a number that cannot be called", source="f = 4\n"),
    "module_getattr": Family(
        tries="let a module-level __getattr__ make up the function", source="def __getattr__(name): return abs\n"
    ),
    "syntax_error": Family(tries="not be Python", source="def f(x:\n"),
    "null_byte": Family(tries="hide what follows a null byte", source="def f(x):\n    return 0\n\0"),
    "lone_surrogate_in_the_source": Family(
        tries="be a source that no encoding takes", source="# \ud800\ndef f(x): return 0\n"
    ),
    "endless_source": Family(
        tries="exhaust the compiler", source="def f(x): return " + "(" * 5000 + "0" + ")" * 5000 + "\n"
    ),
}
