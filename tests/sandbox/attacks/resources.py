"""Using up the machine: memory, threads, descriptors, processor, output. A flood is held by ending at its limit."""

from __future__ import annotations

from tests.sandbox.attacks.attack import Attack

_ENDS = ("error", "died", "timeout")

ATTACKS = {
    "memory": Attack(
        # bytes() takes address space without touching it: writing 1 GiB would use up the CPU limit first.
        source="def f():\n    x = []\n    while True: x.append(bytes(1 << 24))\n",
        verdicts=("error", "died"),
    ),
    "memory_by_mmap": Attack(
        source="""
import mmap
def f():
    kept = []
    while True: kept.append(mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000))
""",
        verdicts=("error",),
    ),
    "shared_memory": Attack(
        source="""
import mmap
def f():
    kept, zero = [], os.open('/dev/zero', os.O_RDWR)
    while True: kept.append(mmap.mmap(zero, 1 << 26, flags=mmap.MAP_SHARED))
""",
        verdicts=("error",),
    ),
    "memory_of_a_big_int": Attack(source="def f():\n    return len(str(10 ** 10 ** 8))\n", verdicts=_ENDS),
    "many_mappings": Attack(
        source="""
import mmap
def f():
    area = mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    made = 0
    try:
        for page in range(0, 1 << 28, 8192):
            if libc.mprotect(ctypes.c_void_p(start + page), 4096, 0): break
            made += 1
    except MemoryError: pass
    return 'held' if made <= 65536 else repr(made)
""",
        verdicts=("passed", *_ENDS),
    ),
    "threads": Attack(
        source="""
import threading, time
def f():
    while True: threading.Thread(target=time.sleep, args=(99,)).start()
""",
        verdicts=_ENDS,
    ),
    "threads_with_small_stacks": Attack(
        source="""
import threading, time
threading.stack_size(1 << 15)
def f():
    made = 0
    try:
        while made < (63 if LEVEL == 'A' else 20000):
            threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
            made += 1
        threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
    except RuntimeError: return 'held'
    return repr(made)
""",
        verdicts=("passed", *_ENDS),
    ),
    "open_files": Attack(
        source="def f():\n    x = []\n    while True: x.append(open('/dev/null'))\n", verdicts=("error",)
    ),
    "full_pipes": Attack(
        source="""
def f():
    made = 0
    try:
        while True:
            _, end = os.pipe()
            os.set_blocking(end, False)
            fcntl.fcntl(end, 1031, 1 << 20)  # F_SETPIPE_SZ
            os.write(end, bytes(1 << 20))
            made += 1
    except OSError: return 'held' if made <= 32 else repr(made)
""",
    ),
    "standard_output": Attack(source="def f():\n    while True: print('x' * 100000)\n", verdicts=("timeout",)),
    "terminal_escapes": Attack(
        source="def f():\n    raise ValueError('\\x1b]0;title\\x07\\x1b[2J\\r\\u202e\\x9b31m')\n", verdicts=("error",)
    ),
    "loop_in_c": Attack(source="def f():\n    return sum(range(10 ** 18))\n", verdicts=("timeout",)),
    "loop_in_threads": Attack(
        source="""
import hashlib, threading
data = bytes(1 << 22)
def spin():
    while True: hashlib.sha256(data)
def f():
    for _ in range(8): threading.Thread(target=spin).start()
    spin()
""",
        verdicts=("timeout",),
    ),
    "regular_expression": Attack(
        source="import re\ndef f():\n    return re.match('(a+)+$', 'a' * 64 + 'b')\n", verdicts=("timeout",)
    ),
    "ignored_signals": Attack(
        source="""
import signal
def f():
    for number in range(1, 65):
        try: signal.signal(number, lambda *a: None)
        except (OSError, ValueError): pass
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    while True:
        try:
            while True: pass
        except BaseException: pass
""",
        verdicts=("timeout",),
    ),
    "storm_of_timers": Attack(
        source="""
import signal
def f():
    signal.signal(signal.SIGALRM, lambda *a: None)
    signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
    while True: pass
""",
        verdicts=("timeout",),
    ),
    "recursion": Attack(source="def f():\n    return f()\n", verdicts=("error",)),
    "recursion_of_c": Attack(
        source="def f():\n    sys.setrecursionlimit(10**9)\n    g = lambda n: [*map(g, [n])]\n    return g(1)\n",
        verdicts=_ENDS,
    ),
    "huge_result": Attack(source="def f():\n    return ['x' * 1000] * 100000\n", verdicts=("unsupported", "timeout")),
    "deep_result": Attack(
        source="def f():\n    x = []\n    for _ in range(10**5): x = [x]\n    return x\n", verdicts=("unsupported",)
    ),
}
