"""A script for test_engines.py: calls of all sorts under one engine. `python traced_calls.py ENGINE DIRECTORY`.

Prints the records without what differs from run to run, as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from megatron_codex.problems.tracing.tracer import Tracer

SOURCE = """
import functools
from decimal import Decimal

def plain(x, y=1): return x + y
def early(x): return -x
def late(x): return x * 3
def threaded(x): return x + 1

def changes(items, more):
    items.append(0)
    more["a"].add(1)
    return len(items)

def fails(x):
    if x: raise KeyError(x)

def catches(x):
    try: fails(x)
    except KeyError: return "caught"

@functools.lru_cache
def factorial(n): return 1 if n < 2 else n * factorial(n - 1)
def deep(n): return deep(n + 1)

def count(n):
    for i in range(n): yield i
def delegates(n):
    yield from count(n)
    return 3
def two():
    yield 1
    yield 2
def forgives():
    try: yield 1
    except ValueError: yield 2
def ends_badly():
    yield 1
    raise ValueError("bad")
async def sleeps(): return 1

def square(x): return x * x
def opaque(x): return object()
def exact(x): return Decimal(x) / 2

class Thing:
    def __init__(self, v): self.v = v
    def bump(self, by):
        self.v += by
        return self.v
    def items(self):
        yield self.v
    @staticmethod
    def alone(a): return a
    @classmethod
    def of(cls, a): return cls(a)
    @property
    def double(self): return 2 * self.v
    @functools.cached_property
    def half(self): return self.v / 2

def makes():
    def inner(): return 1
    return inner()
"""


def load(directory: Path) -> Any:
    (directory / "project").mkdir(parents=True)
    path = directory / "project" / "lib.py"
    path.write_text(SOURCE)
    lib = sys.modules["lib"] = ModuleType("lib")
    exec(compile(SOURCE, str(path), "exec"), lib.__dict__)
    return lib


def attempt(work: Any, *args: Any) -> None:
    try:
        work(*args)
    except Exception as error:
        assert not isinstance(error, AssertionError)


def main(engine: str, directory: Path) -> None:
    lib = load(directory)
    lib.early(1)
    tracer = Tracer(str(directory / "project"), directory / "trace", num_samples=10, engine=engine)
    tracer.start()
    for suite in (plain_calls, generators, objects, processes, resets):
        tracer.resume()
        suite(lib)
    tracer.resume()
    lib.late(3)
    tracer.finish(exit_code=0)
    records = [json.loads(line) for line in (directory / "trace").read_text().splitlines()]
    assert records[0]["engine"] == engine
    kept = [each for each in records[1:-1] if not each["function"].endswith("deep")]
    calls = {name: number for name, number in records[-1]["calls"].items() if not name.endswith("deep")}
    print(json.dumps([*kept, calls]))


def plain_calls(lib: Any) -> None:
    lib.early(2), lib.plain(1), lib.plain(2, y=3), lib.plain(1), lib.factorial(4), lib.makes(), lib.opaque(1)
    lib.changes([7], {"a": {2}}), lib.fails(0), lib.catches(2), lib.exact("1.5")
    attempt(lib.fails, 1)
    for number in range(30):
        lib.square(number)
    attempt(lib.deep, 0)  # the last here: it ends the plain engine until the next test


def generators(lib: Any) -> None:
    list(lib.count(3)), list(lib.delegates(2)), list(zip(lib.count(2), lib.count(4), strict=False))
    attempt(list, lib.ends_badly())
    closed, thrown = lib.two(), lib.forgives()
    next(closed), closed.close()
    if sys.version_info < (3, 13):  # whose sys.setprofile does not tell a throw from a next
        next(thrown), thrown.throw(ValueError), list(thrown)
    next(lib.two())
    attempt(lib.sleeps().send, None)


def objects(lib: Any) -> None:
    thing = lib.Thing(1)
    thing.bump(2), list(thing.items()), thing.alone(1), lib.Thing.of(5), thing.double, thing.half


def processes(lib: Any) -> None:
    threads = [threading.Thread(target=lib.threaded, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
        thread.join()
    child = os.fork()
    if child == 0:
        lib.late(1)
        os._exit(0)
    os.waitpid(child, 0)


def resets(lib: Any) -> None:
    sys.settrace(lambda *_: None)
    lib.plain(50)
    sys.settrace(None)
    sys.setprofile(None), threading.setprofile(None)
    if hasattr(sys, "monitoring"):
        for tool in range(6):
            if sys.monitoring.get_tool(tool):
                sys.monitoring.free_tool_id(tool)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
