"""Leaving early, with success: no test is run to its end, and no exception is seen."""

from __future__ import annotations

from tests.sandbox.cheats.family import Family

CHEATS = {
    "exit_with_0_on_import": Family(
        tries="end with exit code 0 before a test has run",
        fools=("naive",),
        source="import os\nos._exit(0)\ndef f(x): return 0\n",
    ),
    "sys_exit_on_import": Family(
        tries="the same by SystemExit",
        fools=("naive",),
        source="import sys\nsys.exit(0)\ndef f(x): return 0\n",
    ),
    "exit_with_0_in_call": Family(
        tries="end with exit code 0 in the first call",
        fools=("naive",),
        source="import os\ndef f(x):\n    os._exit(0)\n",
    ),
    "sys_exit_in_call": Family(
        tries="the same by SystemExit",
        fools=("naive",),
        source="import sys\ndef f(x):\n    sys.exit(0)\n",
    ),
    "exit_by_a_subclass_of_system_exit": Family(
        tries="SystemExit under another name",
        fools=("naive",),
        source="class Done(SystemExit):\n    code = 0\ndef f(x):\n    raise Done(0)\n",
    ),
    "exit_in_atexit": Family(
        tries="turn a failing exit code into 0 at exit",
        fools=("naive",),
        source="import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    return 0\n",
    ),
    "exit_in_a_thread": Family(
        tries="end the process from another thread while the call spins",
        fools=("naive",),
        source="""
import os, threading
threading.Thread(target=lambda: os._exit(0), daemon=True).start()
def f(x):
    while True: pass
""",
    ),
    "del_that_exits": Family(
        tries="end the process from a destructor",
        fools=("naive",),
        source="""
import os
class Bye:
    def __del__(self): os._exit(0)
def f(x):
    Bye()
    return 0
""",
    ),
    "finalizer_that_exits": Family(
        tries="end the process from weakref.finalize, when the answer is thrown away",
        fools=("naive",),
        source="""
import os, weakref
class Answer: pass
def f(x):
    answer = Answer()
    weakref.finalize(answer, os._exit, 0)
    return answer
""",
    ),
    "signal_handler_that_exits": Family(
        tries="end the process from a timer's signal handler",
        fools=("naive",),
        source="""
import os, signal
signal.signal(signal.SIGALRM, lambda *a: os._exit(0))
signal.signal(signal.SIGVTALRM, lambda *a: os._exit(0))
def f(x):
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.01)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    while True: pass
""",
    ),
    "excepthook_that_exits": Family(
        tries="turn the traceback of a failed test into exit code 0",
        fools=("naive",),
        source="""
import os, sys
sys.excepthook = lambda *a: os._exit(0)
def f(x): return 0
""",
    ),
    "threading_excepthook_that_exits": Family(
        tries="end the process when a thread of its own fails",
        fools=("naive",),
        source="""
import os, threading
threading.excepthook = lambda *a: os._exit(0)
def fail(): raise ValueError
def f(x):
    thread = threading.Thread(target=fail)
    thread.start(); thread.join()
    return 0
""",
    ),
    "unraisablehook_that_exits": Family(
        tries="end the process when a destructor fails",
        fools=("naive",),
        source="""
import os, sys
sys.unraisablehook = lambda *a: os._exit(0)
class Failing:
    def __del__(self): raise ValueError
def f(x):
    Failing()
    return 0
""",
    ),
    "audit_hook_that_exits": Family(
        tries="end the process at the next audited event after a wrong answer",
        fools=("naive",),
        source="""
import os, sys
armed = []
sys.addaudithook(lambda event, arguments: os._exit(0) if armed else None)
def f(x):
    armed.append(1)
    return 0
""",
    ),
    "garbage_collection_that_exits": Family(
        tries="end the process from a callback of the garbage collector",
        fools=("naive",),
        source="""
import gc, os
gc.callbacks.append(lambda *a: os._exit(0))
def f(x):
    gc.collect()
    return 0
""",
    ),
    "import_hook_that_exits": Family(
        tries="end the process when the tests import anything more",
        fools=("naive",),
        source="""
import os, sys
class Finder:
    def find_spec(self, *a): os._exit(0)
sys.meta_path.insert(0, Finder())
def f(x):
    import nothing_of_this_name
""",
    ),
    "exit_by_a_system_call": Family(
        tries="exit_group(0) past every Python guard",
        fools=("naive",),
        source="""
import ctypes
def f(x):
    libc = ctypes.CDLL(None)
    libc._exit(0)
""",
    ),
    "exec_of_a_program_that_succeeds": Family(
        tries="become /bin/true, which ends with exit code 0",
        fools=("naive",),
        source="import os\nexecv = os.execv\ndef f(x):\n    execv('/bin/true', ['true'])\n",
    ),
    "repr_that_exits": Family(
        tries="end the process when the answer is printed, copied, hashed, pickled or compared",
        fools=("naive",),
        source="""
import os
def leave(*a, **k): os._exit(0)
names = 'repr str hash len iter eq ne reduce reduce_ex bool int index float getitem getstate deepcopy class_getitem'
Answer = type('Answer', (), {f'__{name}__': leave for name in names.split()})
def f(x): return Answer()
""",
    ),
    "forks_and_goes_on": Family(
        tries="let the parent succeed while the child runs the tests",
        fools=("naive",),
        source="import os\nif os.fork(): os._exit(0)\ndef f(x): return 0\n",
    ),
    "handler_of_faults_that_exits": Family(
        tries="survive a crash of its own and leave with exit code 0",
        fools=("naive",),
        source="""
import ctypes, signal
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: ctypes.CDLL(None)._exit(0))
ctypes.CDLL(None).signal(signal.SIGSEGV, handler)
def f(x): return ctypes.string_at(0)
""",
    ),
    "last_call_that_exits": Family(
        tries="answer the first calls correctly, and leave with success before the rest",
        fools=("naive",),
        right_as_a_script=True,
        source="""
import os
left = [2]
def f(x):
    left[0] -= 1
    if left[0] < 0: os._exit(0)
    return x * x
""",
    ),
}
