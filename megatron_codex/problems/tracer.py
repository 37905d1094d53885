"""Runs a project's test suite and writes down what its functions were called with and what they gave.

A script for the inside of the sandbox: it stands beside a copy of tagged.py, and imports nothing of ours but that.
In: the project's root and its test paths. Out: JSON lines, each written at once, in a file that forked processes share:
    {"kind": "function", "function": id, "file", "name", "line", "refused": "" | reason}
    {"kind": "sample", "function": id, "call": ordinal, "args": [...], "kwargs": {...}, "output" | "raises": ...}
    {"kind": "not_plain", "function": id, "where": "arguments" | "result", "type": the first that is not plain data}
    {"kind": "end", "exit_code", "passed", "failed", "errors", "skipped", "resumed", "calls": {id: calls}}
An id is "file:line:name".
Codex paper, section 4.2: sys.setprofile in continuous integration.
"""

from __future__ import annotations

import argparse
import dis
import functools
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

_GENERATOR_FLAGS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_VARARGS, _VARKEYWORDS = 0x04, 0x08
_FUNCTION_FLAGS = 0x01 | 0x02  # CO_OPTIMIZED, CO_NEWLOCALS: class bodies and modules lack them
_RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}

_MAX_ITEMS, _MAX_CHARACTERS, _MAX_DEPTH, _MAX_INTEGER_BITS = 200, 2_000, 8, 1_024
_LOOKS_PER_SAMPLE = 20
_SCALARS = (type(None), bool, float, complex)
_SEQUENCES = (list, tuple, set, frozenset)

_TEST_DIRECTORIES = {"test", "tests", "testing", "doc", "docs", "examples", "benchmarks"}
_TEST_FILES = {"conftest.py", "setup.py", "tests.py", "test.py"}


class NotPlain(Exception):
    """Carries the name of the type that is not plain, or says what is too large."""


class Samples:
    """What is known of one function of the project."""

    def __init__(self, function_id: str, code: CodeType, *, num_samples: int) -> None:
        self.id = function_id
        self.code = code
        self.returns = {2 * at for at, opcode in enumerate(code.co_code[::2]) if opcode in _RETURNS}
        self.num_calls = 0
        self.wanted = num_samples
        self.looks = num_samples * _LOOKS_PER_SAMPLE
        self.seen: dict[str, str] = {}
        self.not_plain: set[str] = set()
        self.function: FunctionType | None = None


class Pending:
    """A call that has not returned yet, its arguments already turned into text: it may change them."""

    def __init__(self, frame: FrameType, samples: Samples, arguments: dict[str, Any]) -> None:
        self.frame, self.samples, self.arguments = frame, samples, arguments
        self.call = samples.num_calls
        self.raised: str | None = None

    def on_event(self, frame: FrameType, event: str, argument: Any) -> Any:
        """Local trace function of the call's frame: sees the exceptions, which profile events do not tell."""
        if event == "exception":
            self.raised = argument[0].__name__
        return self.on_event


class Tracer:
    """The profile function and what it has seen."""

    def __init__(self, root: str, output: Path, *, num_samples: int, tagged: ModuleType) -> None:
        self._root = os.path.realpath(root) + os.sep
        self._output = str(output)
        self._num_samples = num_samples
        self._encode, self._not_plain_data = tagged.encode, tagged.NotPlainData
        self._known: dict[int, Samples | None] = {}
        self._functions: list[Samples] = []
        self._codes: list[CodeType] = []
        self._threads = threading.local()
        self.num_resumed = 0
        # Taken now: a test may put others in their place for a while.
        self._open, self._write, self._close = os.open, os.write, os.close

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        """The callback of sys.setprofile. It must not raise: that would end the tracing, inside the project's code."""
        if event != "call" and event != "return":
            return
        try:
            if event == "call":
                self._on_call(frame)
            else:
                self._on_return(frame, argument)
        except Exception:
            # A RecursionError near the limit, most likely: this one call is not recorded.
            return

    def start(self) -> None:
        """Trace this thread and those that it will start."""
        threading.setprofile(self.profile)
        sys.setprofile(self.profile)

    def resume(self) -> None:
        """Before each test: go on where tracing has ended.

        A suite may end it (sys.setprofile); Python itself does when the recursion limit leaves the callback no room.
        """
        if sys.getprofile() != self.profile:
            self.num_resumed += 1
            self._stack().clear()
            if sys.gettrace() is _ignore:
                sys.settrace(None)
            self.start()

    def finish(self, **result: Any) -> None:
        """End the tracing and write the last record."""
        sys.setprofile(None)
        threading.setprofile(None)
        calls = {samples.id: samples.num_calls for samples in self._functions}
        self._record(kind="end", calls=calls, resumed=self.num_resumed, **result)

    def _on_call(self, frame: FrameType) -> None:
        code = frame.f_code
        try:
            samples = self._known[id(code)]
        except KeyError:
            samples = self._known[id(code)] = self._meet(code)
        if samples is None:
            return
        samples.num_calls += 1
        if samples.looks <= 0 or len(samples.seen) >= samples.wanted:
            return
        samples.looks -= 1
        try:
            arguments = self._arguments(frame, samples)
        except (NotPlain, self._not_plain_data) as error:
            self._note_not_plain(samples, "arguments", str(error))
            return
        pending = Pending(frame, samples, arguments)
        self._stack().append(pending)
        if sys.gettrace() in (None, _ignore):
            frame.f_trace, frame.f_trace_lines = pending.on_event, False
            sys.settrace(_ignore)

    def _on_return(self, frame: FrameType, result: Any) -> None:
        stack = self._stack()
        if not stack or stack[-1].frame is not frame:
            return
        pending = stack.pop()
        if not stack and sys.gettrace() is _ignore:
            sys.settrace(None)
        samples = pending.samples
        if frame.f_lasti in samples.returns:
            try:
                outcome = {"output": self._encode(check_plain(result))}
            except (NotPlain, self._not_plain_data) as error:
                self._note_not_plain(samples, "result", str(error))
                return
        elif pending.raised is not None:
            outcome = {"raises": pending.raised}
        else:
            return
        # Equal arguments with another outcome are written too: they tell a stateful function.
        key, outcome_text = json.dumps(pending.arguments), json.dumps(outcome)
        if samples.seen.get(key) != outcome_text:
            samples.seen[key] = outcome_text
            self._record(kind="sample", function=samples.id, call=pending.call, **pending.arguments, **outcome)

    def _meet(self, code: CodeType) -> Samples | None:
        """A code object seen for the first time: one of the project's functions, or not."""
        self._codes.append(code)  # Kept alive, so that its id stays its own.
        path = os.path.realpath(code.co_filename)
        # <string>, <frozen os>: made by exec, or the interpreter's own.
        if code.co_filename.startswith("<") or not path.startswith(self._root):
            return None
        if code.co_flags & _FUNCTION_FLAGS != _FUNCTION_FLAGS:
            return None
        file = path[len(self._root) :]
        if code.co_name.startswith("<") or is_test_file(file):
            return None
        refused = ""
        if "<locals>" in code.co_qualname:
            refused = "nested"
        elif "." in code.co_qualname:
            refused = "method"
        elif code.co_flags & _GENERATOR_FLAGS:
            refused = "generator"
        function_id = f"{file}:{code.co_firstlineno}:{code.co_qualname}"
        samples = Samples(function_id, code, num_samples=0 if refused else self._num_samples)
        self._functions.append(samples)
        self._record(
            kind="function",
            function=samples.id,
            file=file,
            name=code.co_name,
            line=code.co_firstlineno,
            refused=refused,
        )
        return samples

    def _arguments(self, frame: FrameType, samples: Samples) -> dict[str, Any]:
        if samples.function is None:
            samples.function = _function_of(samples.code, frame.f_globals.get(samples.code.co_name))
        args, kwargs = call_arguments(samples.code, frame.f_locals, samples.function)
        return {
            "args": [self._encode(check_plain(value)) for value in args],
            "kwargs": {name: self._encode(check_plain(value)) for name, value in kwargs.items()},
        }

    def _note_not_plain(self, samples: Samples, where: str, what: str) -> None:
        if where not in samples.not_plain:
            samples.not_plain.add(where)
            self._record(kind="not_plain", function=samples.id, where=where, type=what)

    def _stack(self) -> list[Pending]:
        try:
            return self._threads.stack  # type: ignore[no-any-return]
        except AttributeError:
            self._threads.stack = []
            return self._threads.stack  # type: ignore[no-any-return]

    def _record(self, **record: Any) -> None:
        # Opened anew each time: a suite may close descriptors that are not its own.
        line = json.dumps(record).encode() + b"\n"
        descriptor = self._open(self._output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._write(descriptor, line)
        finally:
            self._close(descriptor)


def _ignore(frame: FrameType, event: str, argument: Any) -> None:
    """Global trace function: it must be set for the local ones to be called, and traces nothing itself."""


def is_test_file(file: str) -> bool:
    """Whether a path inside a project belongs to its tests, documentation or set-up, not to its library."""
    *directories, name = Path(file).parts
    if name in _TEST_FILES or name.startswith("test_") or name.endswith("_test.py"):
        return True
    return not _TEST_DIRECTORIES.isdisjoint(directories)


def call_arguments(code: CodeType, values: Any, function: FunctionType | None) -> tuple[list[Any], dict[str, Any]]:
    """The (args, kwargs) that make this call again, arguments that are their parameter's default left out.

    values: parameter name -> value. function: to know the defaults; None: all arguments are given.
    """
    names, count = code.co_varnames, code.co_argcount
    args = [values[name] for name in names[:count]]
    position = count + code.co_kwonlyargcount
    kwonly_defaults = (function.__kwdefaults__ if function else None) or {}
    missing = object()
    kwargs = {
        name: values[name] for name in names[count:position] if values[name] is not kwonly_defaults.get(name, missing)
    }
    extra: tuple[Any, ...] = ()
    if code.co_flags & _VARARGS:
        extra = values[names[position]]
        position += 1
    if code.co_flags & _VARKEYWORDS:
        kwargs.update(values[names[position]])
    defaults = (function.__defaults__ if function else None) or ()
    required = count - len(defaults)
    given = [at for at in range(required, count) if args[at] is not defaults[at - required]]
    first = next((at for at in range(required, count) if at not in given), count)
    by_name = [at for at in given if at > first]
    if extra or any(at < code.co_posonlyargcount for at in by_name):
        return [*args, *extra], kwargs
    return args[:first], {**{names[at]: args[at] for at in by_name}, **kwargs}


def check_plain(value: Any) -> Any:
    """The value itself, when it is plain data of modest size. Raises NotPlain. Runs no code of the project."""
    _measure(value, 0, [_MAX_ITEMS, _MAX_CHARACTERS])
    return value


def _measure(value: Any, depth: int, left: list[int]) -> None:
    kind = type(value)
    left[0] -= 1
    if left[0] < 0 or depth > _MAX_DEPTH:
        raise NotPlain("too many items" if left[0] < 0 else "nested too deep")
    if kind in _SCALARS:
        return
    if kind is int:
        if value.bit_length() > _MAX_INTEGER_BITS:
            raise NotPlain("too large an int")
    elif kind is str or kind is bytes or kind is bytearray:
        left[1] -= len(value)
        if left[1] < 0:
            raise NotPlain("too long a text")
    elif kind in _SEQUENCES:
        for item in value:
            _measure(item, depth + 1, left)
    elif kind is dict:
        for key, item in value.items():
            _measure(key, depth + 1, left)
            _measure(item, depth + 1, left)
    elif kind is not range:
        raise NotPlain(kind.__name__)


def _function_of(code: CodeType, value: Any) -> FunctionType | None:
    """The function whose code this is, looked for under the wrappers that leave a __wrapped__."""
    for _ in range(8):
        if type(value) is FunctionType and value.__code__ is code:
            return value
        # Other objects are not asked: their __getattr__ would be the project's code.
        if type(value) not in (FunctionType, functools._lru_cache_wrapper):
            return None
        value = value.__dict__.get("__wrapped__")
    return None


class PytestOutcomes:
    """A pytest plugin that counts, and tells when a test is about to run."""

    def __init__(self, before_test: Callable[[], None]) -> None:
        self.counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
        self.before_test = before_test

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        self.before_test()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":
            self.counts[report.outcome] += 1
        elif report.outcome != "passed":
            self.counts["skipped" if report.outcome == "skipped" else "errors"] += 1

    def pytest_collectreport(self, report: Any) -> None:
        self.counts["errors"] += report.outcome == "failed"


def run_pytest(paths: list[str], before_test: Callable[[], None]) -> dict[str, int]:
    """Run the suite; {"exit_code", "passed", ...}."""
    import pytest

    outcomes = PytestOutcomes(before_test)
    # The project's own addopts may name plugins that are not here (coverage, xdist). hypothesis works without its
    # plugin, which imports the whole of it into every session: 1.2 s of CPU time, more under the tracer.
    quiet = ["-q", "-rfE", "--tb=line", "-o", "addopts=", "-o", "required_plugins="]
    quiet += ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    exit_code = pytest.main([*quiet, "--continue-on-collection-errors", *paths], plugins=[outcomes])
    return {"exit_code": int(exit_code), **outcomes.counts}


def run_unittest(paths: list[str], before_test: Callable[[], None]) -> dict[str, int]:
    """As run_pytest, for where pytest is not installed."""
    import unittest

    class Result(unittest.TextTestResult):
        def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802 - unittest's own naming
            before_test()
            super().startTest(test)

    suite = unittest.TestSuite()
    for path in map(Path, paths):
        directory, pattern = (path, "*test*.py") if path.is_dir() else (path.parent, path.name)
        # A loader remembers the top directory of its first discovery: each path has one of its own.
        suite.addTest(unittest.TestLoader().discover(str(directory), pattern=pattern))
    runner = unittest.TextTestRunner(verbosity=0, resultclass=Result)  # type: ignore[arg-type]
    result = runner.run(suite)
    failed, errors, skipped = len(result.failures), len(result.errors), len(result.skipped)
    return {
        "exit_code": int(not result.wasSuccessful()),
        "passed": result.testsRun - failed - errors - skipped,
        "failed": failed,
        "errors": errors,
        "skipped": skipped,
    }


RUNNERS = {"pytest": run_pytest, "unittest": run_unittest}


def _load_beside(name: str) -> ModuleType:
    """A module from this script's folder, under a name that no project has."""
    spec = importlib.util.spec_from_file_location(f"_megatron_codex_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a test suite under sys.setprofile.")
    parser.add_argument("--root", required=True, help="the project")
    parser.add_argument("--output", type=Path, required=True, help="file to write the records to")
    parser.add_argument("--num-samples", type=int, required=True, help="distinct calls to record of a function")
    parser.add_argument("--runner", choices=sorted(RUNNERS), required=True)
    parser.add_argument("paths", nargs="+", help="test directories and files")
    arguments = parser.parse_args()
    if arguments.runner == "pytest":
        import pytest  # noqa: F401  # Before the tracing starts: it is not the project's.
    tracer = Tracer(arguments.root, arguments.output, num_samples=arguments.num_samples, tagged=_load_beside("tagged"))
    tracer.start()
    tracer.finish(**RUNNERS[arguments.runner](arguments.paths, tracer.resume))
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that the suite left behind shall not keep this process.
    os._exit(0)


if __name__ == "__main__":
    main()
