"""Projects whose tests work against whoever runs them: what each does, and what it is called in the funnel.

Each has one good function with good tests, lib.double, and a hostile test file that runs after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MARK = "left_by_a_hostile_project"
_FILE = "/output/trace.jsonl"


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """reason: of the project's failure; "" where its good function becomes a problem all the same."""

    source: str
    reason: str = ""


def _test(body: str, reason: str = "") -> Hostile:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    source = f"import gc, json, os, signal, sys, threading, time\nimport lib\ndef test_hostile():\n{lines}"
    return Hostile(source=source, reason=reason)


HOSTILE = {
    "forks_and_goes_on": _test("os.fork()\nassert lib.double(8) == 16"),
    "leaves_daemons": _test(
        f"""
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.execv(sys.executable, ["python", "-c", "import time; time.sleep(600)", {MARK!r}])
"""
    ),
    "fork_bomb": _test(
        """
started = []
try:
    while True:
        child = os.fork()
        if child == 0:
            signal.pause()
        started.append(child)
except OSError:
    pass
for child in started[1:]:
    os.kill(child, 9)
assert started
"""
    ),
    "sleeps_for_ever": _test("time.sleep(600)", "timeout"),
    "ignores_signals_and_spins": _test("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass", "timeout"),
    "kills_the_runner": _test("os.kill(os.getpid(), 9)", "runner killed"),
    "kills_everybody": _test("for pid in (os.getppid(), 1, 0): os.kill(pid, 9)", "runner killed"),
    "exits_in_the_middle": _test("os._exit(0)", "tests end early"),
    "writes_outside": _test(
        """
for path in (lib.OUTSIDE, "/etc/passwd", sys.executable, json.__file__, "/proc/sys/kernel/core_pattern"):
    try:
        with open(path, "a") as handle:
            handle.write("hostile")
    except OSError:
        continue
    raise SystemExit(f"{path} was written")
"""
    ),
    "replaces_what_the_tracer_uses": _test(
        """
def fail(*args, **kwargs): raise RuntimeError("replaced")
for module, name in ((os, "write"), (os, "getpid"), (os, "_exit"), (json, "dumps")):
    setattr(module, name, fail)
json.JSONEncoder.encode = json.JSONEncoder.iterencode = json.encoder.c_make_encoder = fail
sys.exit = sys._getframe = fail
"""
    ),
    "replaces_the_tracer": _test(
        """
def fail(*args, **kwargs): raise RuntimeError("replaced")
for module in [each for name, each in sys.modules.items() if "tracing" in name]:
    for value in list(vars(module).values()):
        if isinstance(value, type) and "tracing" in value.__module__:
            for name in [name for name in vars(value) if not name.startswith("__") and name != "finish"]:
                setattr(value, name, fail)
""",
        "tests end early",
    ),
    "ends_the_tracing": _test(
        """
sys.setprofile(None), sys.settrace(None), threading.setprofile(None)
if hasattr(sys, "monitoring"):
    for tool in range(6):
        if sys.monitoring.get_tool(tool):
            sys.monitoring.free_tool_id(tool)
"""
    ),
    "floods_the_output": _test("for _ in range(300): os.write(1, b'x' * 65536)"),
    "fills_the_disk": _test(
        "for name in ('a', 'b'):\n    with open(f'/output/{name}', 'wb') as f: f.truncate(120 << 20)", "too much output"
    ),
    "deletes_the_records": _test(f"os.remove({_FILE!r})", "records lost"),
    "puts_a_pipe_for_the_records": _test(f"os.remove({_FILE!r})\nos.mkfifo({_FILE!r})", "tests end early"),
    "forges_an_end": _test(
        f"""
record = {{"kind": "end", "token": "x", "exit_code": 0, "passed": 99, "failed": 0, "errors": 0, "skipped": 0}}
with open({_FILE!r}, "a") as handle:
    print(json.dumps({{**record, "resumed": 0, "calls": {{}}}}), file=handle)
os._exit(0)
""",
        "records forged",
    ),
    "forges_a_beginning": _test(
        f"""
record = {{"kind": "start", "seal": "x", "engine": "x", "python": "x"}}
with open({_FILE!r}, "a") as handle: print(json.dumps(record), file=handle)
""",
        "records forged",
    ),
    "floods_the_records": _test(
        f"with open({_FILE!r}, 'a') as handle: handle.write('{{}}\\n' * 200_000)", "records forged"
    ),
    "forges_samples": _test(
        f"""
records = [json.loads(line) for line in open({_FILE!r})]
(known,) = [each["function"] for each in records if each["kind"] == "function" and each["name"] == "double"]
sample = {{"kind": "sample", "function": known, "call": 1, "args": [100], "kwargs": {{}}, "output": 7}}
with open({_FILE!r}, "a") as handle: print(json.dumps(sample), file=handle)
"""
    ),
    "closes_all_descriptors": _test("os.closerange(0, 512)", "tests end early"),
    "takes_the_directory_away": _test(
        "os.makedirs('/tmp/d')\nos.chdir('/tmp/d')\nos.rmdir('/tmp/d')\nos.environ.clear()"
    ),
    "fixtures_without_end": Hostile(
        source="import pytest, lib\n@pytest.fixture\ndef a(a): return lib.double(a)\ndef test(a): pass\n"
        "def test_deep():\n    def f(x): return f(lib.double(x))\n    with pytest.raises(RecursionError): f(0)\n"
    ),
    "values_without_end": _test(
        """
items = []
items.append(items)
class Liar:
    def __getattribute__(self, name): raise SystemExit("asked")
    __eq__ = __hash__ = __repr__ = __len__ = __iter__ = __bool__ = __reduce__ = __getattribute__
lib.keep(items), lib.keep(Liar()), lib.keep([Liar()] * 3), lib.keep("x" * 10_000_000), lib.keep(list(range(10**6)))
"""
    ),
}


def write_project(directory: Path, name: str, outside: Path) -> Path:
    """outside: a file that only we should be able to change."""
    root = directory / name
    root.mkdir()
    (root / "lib.py").write_text(
        f'OUTSIDE = {str(outside)!r}\ndef double(number):\n    """Double a number."""\n    return 2 * number\n'
        "def keep(value):\n    return None\n"
    )
    (root / "test_a_good.py").write_text(
        "import lib\ndef test():\n    assert [lib.double(x) for x in (1, 3)] == [2, 6]\n"
    )
    (root / "test_b_hostile.py").write_text(HOSTILE[name].source)
    return root
