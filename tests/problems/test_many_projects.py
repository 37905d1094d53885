"""Many projects at once: the same records whoever works, nothing done twice, an end at once when asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from megatron_codex.config.execution import ExecutionConfig
from megatron_codex.config.problems import TraceConfig
from megatron_codex.problems import ci_traces, project_tasks
from megatron_codex.problems.ci_project import STAGES, ProjectOutcome, trace_one_project
from megatron_codex.problems.ci_traces import trace_projects
from megatron_codex.problems.funnel import Funnel
from megatron_codex.problems.funnel_figure import funnel_figure
from megatron_codex.problems.project_tasks import do_task, make_tasks, read_outcome
from megatron_codex.problems.projects.sources import ProjectSource, find_sources
from megatron_codex.problems.projects_table import table_lines
from megatron_codex.records import Problem

TOOL = Path(__file__).parents[2] / "tools" / "trace_ci.py"
LIB = 'def double(number):\n    """Double a number."""\n    return 2 * number\n'
TEST = "from lib import double\ndef test():\n    assert double(2) != double(1)\n"
HANGS = "import time\ndef test():\n    time.sleep(600)\n"
WAIT_S = 120.0


@pytest.fixture
def several(tmp_path: Path) -> list[str]:
    """Two projects with a function in common, and a bad one between them."""
    for name in ("first", "second"):
        root = tmp_path / name
        root.mkdir()
        (root / "lib.py").write_text(LIB)
        (root / "test_lib.py").write_text(TEST)
    (tmp_path / "bad.tar.gz").write_bytes(b"no archive")
    return [str(tmp_path / name) for name in ("first", "bad.tar.gz", "second")]


def _config(projects: list[str], output: Path, workers: int = 1) -> TraceConfig:
    execution = ExecutionConfig(workers=workers)
    return TraceConfig(
        project=tuple(projects),
        output=output,
        install=False,
        num_replays=2,
        workers=1,
        timeout_s=60.0,
        execution=execution,
    )


@pytest.mark.usefixtures("isolation")
def test_the_records_do_not_depend_on_how_many_work(several: list[str], tmp_path: Path) -> None:
    for workers in (1, 2):
        trace_projects(_config(several, tmp_path / f"out{workers}", workers))
    for name in ("problems.jsonl", "dropped.jsonl", "funnel.svg"):
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "out2" / "problems.jsonl").read_text().splitlines()]
    assert [row["task_id"] for row in rows] == ["first-0/lib.double"]
    funnel = json.loads((tmp_path / "out2" / "funnel.json").read_text())
    assert [project["status"] for project in funnel["of_projects"]] == ["done", "failed", "done"]
    assert funnel["dropped"]["problems"] == {"duplicate by body": 1}
    assert not (tmp_path / "out2.partial").exists()


@pytest.mark.usefixtures("isolation")
def test_a_killed_run_goes_on_and_does_no_project_again(
    several: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "second" / "test_lib.py").write_text(HANGS)
    done = tmp_path / "out.partial" / "projects"
    with _start(several, tmp_path / "out") as process:
        _wait_for(lambda: len(list(done.glob("*.json"))) == 2)
        process.kill()
    _wait_for(lambda: not _processes_below(process.pid))
    (tmp_path / "second" / "test_lib.py").write_text(TEST)
    again: list[str] = []

    def trace(source: ProjectSource, config: TraceConfig, workspace: Path) -> ProjectOutcome:
        again.append(source.label)
        return trace_one_project(source, config, workspace)

    monkeypatch.setattr(project_tasks, "trace_one_project", trace)
    outcomes = trace_projects(_config(several, tmp_path / "out"))
    assert again == ["second"]
    assert outcomes is not None
    assert [outcome.name for outcome in outcomes] == ["first-0", "", "second-0"]
    assert [outcome.reason for outcome in outcomes] == ["", "broken archive", ""]


@pytest.mark.usefixtures("isolation")
def test_ctrl_c_ends_everything_at_once_and_keeps_what_is_done(several: list[str], tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name / "test_lib.py").write_text(HANGS)
    process = _start(several, tmp_path / "out")
    work = tmp_path / "out.partial"
    _wait_for(lambda: len(list(work.glob("projects/*.json"))) == 1 and len(list(work.glob("work/*/trace/kit"))) == 2)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=WAIT_S)
    assert process.returncode == 130
    assert time.monotonic() - started < 30
    assert len(list(work.glob("projects/*.json"))) == 1
    _wait_for(lambda: not _processes_below(process.pid))


def _start(projects: list[str], output: Path) -> subprocess.Popen[bytes]:
    """The command with the settings of _config, two projects at a time, in a session of its own."""
    settings = ["--no-install", "--num-replays", "2", "--workers", "1", "--timeout-s", "60", "execution.workers=2"]
    command = [sys.executable, str(TOOL), "--project", *projects, "--output", str(output), *settings]
    # A shell that starts the tests in the background has SIGINT ignored, and so would the command.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=heed
    )


def _processes_below(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _wait_for(condition: object) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.05)


def test_what_is_kept_of_a_project_depends_on_what_it_is_made_of(several: list[str], tmp_path: Path) -> None:
    def keys(**changed: object) -> list[str]:
        config = TraceConfig(**{"project": tuple(several), "output": tmp_path / "out", **changed})  # type: ignore[arg-type]
        return [task.key for task in make_tasks(find_sources(several), config, tmp_path / "partial")]

    before = keys()
    assert len(set(before)) == 3
    assert keys(output=tmp_path / "other", workers=1, execution=ExecutionConfig(workers=7)) == before
    assert set(keys(num_samples=7)).isdisjoint(before)
    # Of the same length, and a second later.
    (tmp_path / "first" / "lib.py").write_text(LIB.replace("2", "3"))
    os.utime(tmp_path / "first" / "lib.py", (time.time() + 1, time.time() + 1))
    (tmp_path / "bad.tar.gz").write_bytes(b"no archivE")
    assert [old == new for old, new in zip(before, keys(), strict=True)] == [False, False, True]


def _outcome() -> ProjectOutcome:
    problem = Problem(task_id="a", prompt="def f():\n", entry_point="f", canonical_solution="    pass\n", test="t")
    outcome = ProjectOutcome(path=Path("x.tar.gz"), name="x-1", problems=[problem], seconds=1.5)
    outcome.funnel.reach(STAGES[0], 3)
    outcome.drop("a", STAGES[1], "result not plain", "detail")
    outcome.facts = {
        "tests": {"passed": 4, "failed": 1, "errors": 0, "skipped": 2},
        "environment": {"installed": True, "packages": {"a": "1", "b": "2"}, "dropped": {"c>=1": "no wheel"}},
        "runner": {"command": "pytest tests", "found_in": "tox.ini"},
    }
    return outcome


def test_an_outcome_is_read_back_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_tasks, "trace_one_project", lambda *_: _outcome())
    config = TraceConfig(project=("name",), output=tmp_path / "out")
    (task,) = make_tasks(find_sources(["name"]), config, tmp_path / "partial")
    assert not task.is_done()
    do_task(task, config)
    assert task.is_done() and not any((tmp_path / "partial" / "work").iterdir())
    read = read_outcome(task)
    assert read.to_json() == _outcome().to_json()
    assert (read.problems, read.dropped) == (_outcome().problems, _outcome().dropped)


def test_a_project_that_kills_its_workers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> ProjectOutcome:
        raise KeyboardInterrupt  # as if the process had been killed: nothing is written

    monkeypatch.setattr(project_tasks, "trace_one_project", die)
    config = TraceConfig(project=("name",), output=tmp_path / "out")
    (task,) = make_tasks(find_sources(["name"]), config, tmp_path / "partial")
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            do_task(task, config)
        assert not task.is_done()
    do_task(task, config)
    assert read_outcome(task).reason == "worker died"
    # Those of an earlier run do not count.
    (again,) = make_tasks(find_sources(["name"]), config, tmp_path / "partial")
    assert not again.tries.exists()


def test_a_fault_of_ours_costs_one_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("megatron_codex.problems.ci_project.fetch_project", fail)
    config = TraceConfig(project=("name",), output=tmp_path / "out")
    (task,) = make_tasks(find_sources(["name"]), config, tmp_path / "partial")
    do_task(task, config)
    read = read_outcome(task)
    assert (read.reason, read.detail) == ("fault of megatron_codex", "ZeroDivisionError: ours")


def test_the_table_has_a_row_a_project_and_their_sum() -> None:
    failed = ProjectOutcome(path=Path("y"), reason="no tests", detail="none\nat all")
    head, first, second, total = table_lines([_outcome(), failed])
    assert head.split()[:5] == ["project", "passed", "failed", "errors", "skipped"]
    assert first.split()[:6] == ["x-1", "4", "1", "0", "2", "3"]
    assert first.endswith("pytest tests (tox.ini); without c>=1")
    assert second.split()[:2] == ["y", "-"] and second.endswith("FAILED: no tests: none at all")
    assert total.split()[:3] == ["2", "projects", "4"] and total.endswith("1 failed")
    assert len({line.index(word) for line, word in ((head, "command"), (first, "pytest"), (second, "FAILED"))}) == 1


def test_the_figure_shows_counts_and_reasons() -> None:
    funnel = Funnel(("called", "kept <all>"))
    funnel.reach("called", 1200)
    funnel.reach("kept <all>", 300)
    for reason, number in (("a & b", 500), ("c", 300), ("d", 60), ("e", 30), ("f", 10)):
        for _ in range(number):
            funnel.drop("kept <all>", reason)
    figure = funnel_figure(funnel.counts, funnel.reasons, title="Functions of 2 projects")
    assert ">1,200<" in figure and ">300<" in figure and "kept &lt;all&gt;" in figure
    assert "-500 a &amp; b, -300 c, -60 d, -40 others" in figure
    assert 'width="330.0"' in figure and 'width="82.5"' in figure
    assert "script" not in figure and "currentColor" in figure


def test_bad_settings_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ci_traces, "do_task", lambda *_: pytest.fail("work began"))
    for settings, where in (
        ({"python": "no-such-python"}, "python: got 'no-such-python'; no such program"),
        ({"python": "/bin/true"}, "python: got '/bin/true'; is no Python that runs here"),
        ({"wheels": (tmp_path / "absent",)}, "absent: no such directory"),
    ):
        with pytest.raises(ValueError, match=where):
            trace_projects(TraceConfig(project=(str(tmp_path),), output=tmp_path / "out", **settings))  # type: ignore[arg-type]
        assert not (tmp_path / "out").exists()
