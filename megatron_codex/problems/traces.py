"""A project's test suite run under the tracer, in the sandbox; what its functions were called with, read back.

In: a Project. Out: a Trace. The records were written by a process in which the project's own code ran, so each is
checked as data of unknown origin; nothing is believed until the replay (replay.py). Codex paper, section 4.2.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import megatron_codex
from megatron_codex.problems import tracing
from megatron_codex.problems.project import BrokenProjectError, Project
from megatron_codex.problems.projects.suite import Suite
from megatron_codex.problems.trace_records import RecordReader, TracedFunction
from megatron_codex.sandbox.project_run import OUTPUT_IN_JAIL, PROJECT_IN_JAIL, ProjectRun, run_project

__all__ = ["Trace", "TracedFunction", "read_trace", "trace_project"]

_TRACE_FILE = "trace.jsonl"
# Our modules are found once, and then no longer: what the project imports is its own business.
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from megatron_codex.problems.tracing import run; "
    "sys.path.pop(0); run.main()"
)
_MISSING_MODULE = re.compile(r"No module named '([\w.]+)'")
_REASON_OF_VERDICT = {"timeout": "timeout", "died": "out of memory", "infra": "sandbox failed"}
_MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Trace:
    """suite: exit_code, passed, failed, errors, skipped, as the test runner counted; resumed: how often tracing had to
    be started again, because a test had ended it. engine: "evaluator" or "monitoring", or, slower, "profiler" and
    "setprofile", with the version of Python that it ran in."""

    functions: tuple[TracedFunction, ...]
    suite: dict[str, int]
    missing_modules: tuple[str, ...]
    num_malformed_records: int
    engine: str
    isolation: str


def trace_project(
    project: Project,
    suite: Suite,
    workspace: Path,
    *,
    num_samples: int,
    timeout_s: float,
    memory_bytes: int,
    libraries: Sequence[str] = (),
    builtins: Sequence[str] = (),
) -> Trace:
    """Run the suite in the sandbox. workspace: an empty directory of ours. num_samples: calls recorded of a function.

    libraries: "dependencies" and "stdlib", whose functions are recorded as well as the project's. builtins: functions
    without code that are too, as "math.gcd" (tracing/builtin_calls.py says which of their calls are missed).
    Raises: BrokenProjectError ("timeout", "no test passes", ...); WorkError when this machine cannot isolate it.
    """
    kit, output = _make_kit(workspace / "kit"), workspace / "output"
    arguments = ["--root", PROJECT_IN_JAIL, "--output", f"{OUTPUT_IN_JAIL}/{_TRACE_FILE}"]
    arguments += ["--num-samples", str(num_samples), "--runner", suite.command.runner]
    arguments += ["--libraries", *libraries, "--builtins", *builtins]
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
    if run.output_truncated:
        raise BrokenProjectError("too much output", "the suite wrote more files than are read back")
    reader = RecordReader()
    if path.is_file():
        reader.read_file(path)
    if reader.fault:
        raise BrokenProjectError(*reader.fault)
    if reader.suite is None:
        killed = run.exit_code > 128  # by a signal
        raise BrokenProjectError("runner killed" if killed else "tests end early", _why_not(run, printed, missing))
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


def _why_not(run: ProjectRun, printed: str, missing: tuple[str, ...]) -> str:
    if missing:
        return f"modules missing: {', '.join(missing)}"
    last = next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "nothing printed")
    return f"exit code {run.exit_code}; last line: {last[:_MAX_DETAIL_CHARS]}"
