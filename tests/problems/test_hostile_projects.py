"""Hostile projects (hostile_projects.py), traced in the sandbox: each has its reason, and harms nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems.ci_project import ProjectOutcome
from megatron_codex.problems.ci_traces import trace_projects
from tests.problems.hostile_projects import HOSTILE, MARK, write_project


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outside") / "precious"
    path.write_text("precious")
    return path


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, outside: Path, isolation: None) -> dict[str, ProjectOutcome]:
    """Of all projects, traced together."""
    base = tmp_path_factory.mktemp("hostile")
    found: dict[str, ProjectOutcome] = {}
    for timeout_s in (4.0, 90.0):  # those that never end, and the others, which a busy machine must not stop
        names = [name for name in HOSTILE if (HOSTILE[name].reason == "timeout") == (timeout_s < 10)]
        config = TraceConfig(
            project=tuple(write_project(base, name, outside) for name in names),
            output=base / f"output_{timeout_s}",
            timeout_s=timeout_s,
            num_replays=2,
            num_mutants=2,
            workers=2,
            install=False,
        )
        found |= {outcome.path.name: outcome for outcome in trace_projects(config)}
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_project_has_its_reason(name: str, outcomes: dict[str, ProjectOutcome]) -> None:
    outcome = outcomes[name]
    assert outcome.reason == HOSTILE[name].reason, outcome.detail
    # The good function is a problem, or a reason stands for it: its tests are the same in all these projects.
    kept = [problem.entry_point for problem in outcome.problems]
    reasons = {row["function"].rpartition(":")[2]: row["reason"] for row in outcome.dropped}
    assert outcome.reason or kept == ["double"] or "duplicate by body" in reasons.values(), reasons


def test_forged_sample_is_in_no_problem(outcomes: dict[str, ProjectOutcome]) -> None:
    assert not any("100" in problem.test for outcome in outcomes.values() for problem in outcome.problems)


def test_nothing_is_harmed(outcomes: dict[str, ProjectOutcome], outside: Path) -> None:
    assert outside.read_text() == "precious"
    left = [each for each in Path("/proc").glob("[0-9]*/cmdline") if MARK.encode() in _read(each)]
    assert left == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return b""
