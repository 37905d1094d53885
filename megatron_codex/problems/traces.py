"""A project's test suite run under the tracer, in the sandbox; what its functions were called with, read back.

In: a Project. Out: a Trace. The records were written by a process in which the project's own code ran, so each is
checked as data of unknown origin; nothing is believed until the replay (replay.py). Codex paper, section 4.2.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import megatron_codex
from megatron_codex.problems import tracing
from megatron_codex.problems.project import BrokenProjectError, Project
from megatron_codex.problems.projects.suite import Suite
from megatron_codex.problems.tracing.kinds import KINDS
from megatron_codex.problems.tracing.origins import PROJECT
from megatron_codex.restorable_objects import decode_restorable
from megatron_codex.sandbox.project_run import OUTPUT_IN_JAIL, PROJECT_IN_JAIL, ProjectRun, run_project
from megatron_codex.tagged import NotPlainData

Example = dict[str, Any]

_TRACE_FILE = "trace.jsonl"
# Our modules are found once, and then no longer: what the project imports is its own business.
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from megatron_codex.problems.tracing import run; "
    "sys.path.pop(0); run.main()"
)
_MISSING_MODULE = re.compile(r"No module named '([\w.]+)'")
_REASON_OF_VERDICT = {"timeout": "timeout", "died": "out of memory", "infra": "sandbox failed"}
_MAX_DETAIL_CHARS = 300
_SUITE_FACTS = ("exit_code", "passed", "failed", "errors", "skipped", "resumed")


@dataclass(kw_only=True)
class TracedFunction:
    """One function that the tests called."""

    file: str
    """Below the root of its origin, with forward slashes."""
    qualname: str
    line: int
    kind: str = "function"
    """One of tracing.kinds.KINDS."""
    is_generator: bool = False
    origin: str = "project"
    """"project", "stdlib", or a distribution's "name version"."""
    num_calls: int = 0
    """As long as the tracer looked at them: it stops when it has enough."""
    not_plain: dict[str, str] = field(default_factory=dict)
    """"arguments", "result" and/or "changes" -> the first type met there that has no form."""
    examples: list[Example] = field(default_factory=list)
    """Calls with different arguments: args, kwargs, and output, iterator (the items of a generator that was run to its
    end; None: of another iterator) or raises, with message where it is the same each time; changes: position or name
    of an argument -> what it is after the call. In tagged JSON with the tags of restorable.py and
    restorable_objects.py."""
    contradicts_itself: bool = False
    """Equal arguments had different outcomes."""

    @property
    def name(self) -> str:
        """Without that of its class."""
        return self.qualname.rpartition(".")[2]

    @property
    def refused(self) -> str:
        """Why it is no plain function of the project's: its kind, or its origin; "" for one that is."""
        if self.origin != PROJECT:
            return "of a library"
        is_bound = self.kind in ("staticmethod", "classmethod", "property")
        return "" if self.kind == "function" else "method" if is_bound else self.kind


@dataclass(frozen=True, kw_only=True)
class Trace:
    """suite: exit_code, passed, failed, errors, skipped, as the test runner counted; resumed: how often tracing had to
    be started again, because a test had ended it. engine: "profiler" or "monitoring", or, several times slower,
    "setprofile", with the version of Python that it ran in."""

    functions: tuple[TracedFunction, ...]
    suite: dict[str, int]
    missing_modules: tuple[str, ...]
    num_malformed_records: int
    engine: str
    isolation: str


def trace_project(
    project: Project, suite: Suite, workspace: Path, *, num_samples: int, timeout_s: float, memory_bytes: int
) -> Trace:
    """Run the suite in the sandbox. workspace: an empty directory of ours. num_samples: calls recorded of a function.

    Raises: BrokenProjectError ("timeout", "no test passes", ...); WorkError when this machine cannot isolate it.
    """
    kit, output = _make_kit(workspace / "kit"), workspace / "output"
    arguments = ["--root", PROJECT_IN_JAIL, "--output", f"{OUTPUT_IN_JAIL}/{_TRACE_FILE}"]
    arguments += ["--num-samples", str(num_samples), "--runner", suite.command.runner]
    run = run_project(
        [str(suite.environment.python), "-P", "-B", "-c", _START, str(kit), *arguments, "--", *suite.command.arguments],
        project=project.root,
        read_only=[kit, *suite.environment.shown],
        environment=suite.variables(project),
        output=output,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
    )
    return read_trace(output / _TRACE_FILE, run)


def _make_kit(kit: Path) -> Path:
    """A package with those few of our modules that run in the sandbox."""
    package = Path(megatron_codex.__file__).parent
    inside = Path(tracing.__file__).parent.relative_to(package)
    (kit / package.name / inside).mkdir(parents=True)
    codecs = [package / name for name in ("tagged.py", "restorable.py", "restorable_objects.py")]
    for source in (*codecs, *(package / inside).glob("*.py"), *(package / inside).glob("_tracer.*.so")):
        shutil.copy(source, kit / package.name / source.relative_to(package))
    # Whole packages, so that they win over any megatron_codex that is installed.
    for directory in (package.name, f"{package.name}/problems"):
        (kit / directory / "__init__.py").touch()
    return kit


def read_trace(path: Path, run: ProjectRun) -> Trace:
    """What a run of the tracer left in `path`, and how it ended. Raises: BrokenProjectError."""
    printed = run.stdout.decode(errors="replace")
    missing = tuple(sorted(set(_MISSING_MODULE.findall(printed))))
    reason = _REASON_OF_VERDICT.get(run.verdict.verdict)
    if reason:
        raise BrokenProjectError(reason, run.verdict.detail)
    reader = _RecordReader()
    if path.is_file():
        with path.open("rb") as lines:
            for line in lines:
                reader.read(line)
    if reader.suite is None:
        raise BrokenProjectError("tests end early", _why_not(run, printed, missing))
    if not reader.suite["passed"]:
        raise BrokenProjectError("no test passes", _why_not(run, printed, missing))
    return Trace(
        functions=tuple(sorted(reader.functions.values(), key=lambda function: (function.file, function.line))),
        suite=reader.suite,
        missing_modules=missing,
        num_malformed_records=reader.num_malformed,
        engine=reader.engine,
        isolation=run.verdict.isolation,
    )


class _RecordReader:
    """Builds TracedFunctions from the tracer's lines; a line of another form is counted and left out."""

    def __init__(self) -> None:
        self.functions: dict[str, TracedFunction] = {}
        self.suite: dict[str, int] | None = None
        self.num_malformed = 0
        self.engine = ""
        self._process = -1
        self._examples: dict[str, Example] = {}

        self._readers = {
            "start": self._start,
            "function": self._function,
            "sample": self._sample,
            "not_plain": self._not_plain,
            "end": self._end,
        }

    def read(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            self._readers[record["kind"]](record)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, NotPlainData):
            self.num_malformed += 1

    def _start(self, record: dict[str, Any]) -> None:
        if not self.engine:
            self.engine = f"{_text(record['engine'])} of Python {_text(record['python'])}"
            self._process = _count(record["process"])

    def _function(self, record: dict[str, Any]) -> None:
        if record["function_kind"] not in KINDS or type(record["is_generator"]) is not bool:
            raise ValueError("no such kind of function")
        function = TracedFunction(
            file=_text(record["file"]),
            qualname=_text(record["name"]),
            line=_count(record["line"]),
            kind=record["function_kind"],
            is_generator=record["is_generator"],
            origin=_text(record["origin"]),
        )
        self.functions.setdefault(_text(record["function"]), function)

    def _sample(self, record: dict[str, Any]) -> None:
        function = self.functions[record["function"]]
        (kind,) = record.keys() & {"output", "iterator", "raises"}
        example: Example = {"args": list(record["args"]), "kwargs": dict(record["kwargs"]), kind: record[kind]}
        for name in record.keys() & {"message", "changes"}:
            example[name] = dict(record[name]) if name == "changes" else _text(record[name])
        forms = [*example["args"], *example["kwargs"].values(), *example.get("changes", {}).values()]
        if kind == "raises":
            _text(example[kind])
        elif kind == "iterator":
            forms += list(example[kind] or ())
        else:
            forms.append(example[kind])
        decode_restorable(forms)
        function.num_calls = max(function.num_calls, _count(record["call"]))
        self._keep(function, example, key=json.dumps([record["function"], example["args"], example["kwargs"]]))

    def _keep(self, function: TracedFunction, example: Example, *, key: str) -> None:
        known = self._examples.get(key)
        if known is None:
            self._examples[key] = example
            function.examples.append(example)
            return
        if known.get("message") != example.get("message"):  # it shows an address, for instance
            known.pop("message", None)
            example.pop("message", None)
        function.contradicts_itself |= json.dumps(known, sort_keys=True) != json.dumps(example, sort_keys=True)

    def _not_plain(self, record: dict[str, Any]) -> None:
        self.functions[record["function"]].not_plain[_text(record["where"])] = _text(record["type"])

    def _end(self, record: dict[str, Any]) -> None:
        self.suite = {name: _count(record[name]) for name in _SUITE_FACTS}
        for name, number in record["calls"].items():
            if name in self.functions:
                self.functions[name].num_calls = max(self.functions[name].num_calls, _count(number))


def _why_not(run: ProjectRun, printed: str, missing: tuple[str, ...]) -> str:
    if missing:
        return f"modules missing: {', '.join(missing)}"
    last = next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "nothing printed")
    return f"exit code {run.exit_code}; last line: {last[:_MAX_DETAIL_CHARS]}"


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError("not a string")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("not a count")
    return value
