"""The callback of sys.setprofile: what a project's functions are called with, and what they give.

In: profile events. Out: JSON lines, each written at once, in a file that forked processes share:
    {"kind": "function", "function": id, "file", "name", "line", "refused": "" | reason}
    {"kind": "sample", "function": id, "call": ordinal, "args": [...], "kwargs": {...}, "output" | "raises": ...}
    {"kind": "not_plain", "function": id, "where": "arguments" | "result", "type": the first that is not plain data}
    {"kind": "end", "exit_code", "passed", "failed", "errors", "skipped", "resumed", "calls": {id: calls}}
An id is "file:line:name". Codex paper, section 4.2: sys.setprofile in continuous integration.
"""

from __future__ import annotations

import dis
import json
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from megatron_codex.problems.tracing.calls import NotPlain, call_arguments, check_plain, function_of
from megatron_codex.tagged import NotPlainData, encode

_GENERATOR_FLAGS = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
_FUNCTION_FLAGS = 0x01 | 0x02  # CO_OPTIMIZED, CO_NEWLOCALS: class bodies and modules lack them
_RETURNS = {dis.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in dis.opmap}

_LOOKS_PER_SAMPLE = 20

_TEST_DIRECTORIES = {"test", "tests", "testing", "doc", "docs", "examples", "benchmarks"}
_TEST_FILES = {"conftest.py", "setup.py", "tests.py", "test.py"}


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

    def __init__(self, root: str, output: Path, *, num_samples: int) -> None:
        self._root = os.path.realpath(root) + os.sep
        self._output = str(output)
        self._num_samples = num_samples
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
        except (NotPlain, NotPlainData) as error:
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
                outcome = {"output": encode(check_plain(result))}
            except (NotPlain, NotPlainData) as error:
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
            samples.function = function_of(samples.code, frame.f_globals.get(samples.code.co_name))
        args, kwargs = call_arguments(samples.code, frame.f_locals, samples.function)
        return {
            "args": [encode(check_plain(value)) for value in args],
            "kwargs": {name: encode(check_plain(value)) for name, value in kwargs.items()},
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
