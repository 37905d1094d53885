"""The stages after tracing that need no project: what is dropped there, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems.from_trace import make_problems
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.project import Project
from megatron_codex.problems.project_metadata import Metadata
from megatron_codex.problems.traces import Trace, TracedFunction
from megatron_codex.records import Problem

_SOURCE = '''
import os
def home(x):
    """Where it is."""
    return str(os.environ.get("HOME") is None) + x
def same(x):
    """The argument twice, but only for long ones."""
    return x + x if len(x) > 3 else x
def double(x):
    """The argument twice."""
    return x + x
'''
_CALLS: dict[str, list[tuple[Any, Any]]] = {
    "home": [("a", "Truea"), ("b", "Trueb")],
    "same": [("a", "a"), ("bc", "bc")],
    "double": [("a", "aa"), ("bc", "bcbc"), ("", "")],
}


class _Noted:
    def __init__(self) -> None:
        self.funnel = Funnel(("called", "capturable", "extractable", "replayable", "deterministic", "problems"))
        self.problems: list[Problem] = []
        self.dropped: dict[str, tuple[str, str, str]] = {}

    def drop(self, function: TracedFunction | str, stage: str, reason: str, detail: str = "") -> None:
        self.dropped[function if isinstance(function, str) else function.name] = (stage, reason, detail)


@pytest.mark.usefixtures("isolation")
def test_what_looks_at_the_world_and_what_its_calls_hardly_test_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(_SOURCE)
    lines = _SOURCE.split("\n")
    functions = [
        TracedFunction(
            file="m.py",
            qualname=name,
            line=next(number for number, text in enumerate(lines, 1) if text.startswith(f"def {name}(")),
            examples=[{"args": [given], "kwargs": {}, "output": output} for given, output in calls],
        )
        for name, calls in _CALLS.items()
    ]
    metadata = Metadata(name="p", version="1", licence="MIT")
    project = Project(root=tmp_path, metadata=metadata, import_roots=(".",), tests=(), source="p.zip", sha256="0")
    trace = Trace(functions=tuple(functions), suite={}, missing_modules=(), num_malformed_records=0, engine="",
                  isolation="")  # fmt: skip
    noted = _Noted()
    config = TraceConfig(project=("p.zip",), output=tmp_path / "output", workers=1, num_mutants=6, num_replays=2)
    make_problems(noted, project, trace, config)
    assert noted.dropped == {
        "home": ("deterministic", "reads the environment", "the environment"),
        "same": ("problems", "weak tests", "return x passes"),
    }
    assert [problem.entry_point for problem in noted.problems] == ["double"]
    assert noted.funnel.counts["problems"] == 1
