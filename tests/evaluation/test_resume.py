"""A run of evaluate.py that is stopped, by whatever, goes on where it was; and nobody disturbs another's run."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from megatron_codex import journals
from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import InputError, WorkError
from megatron_codex.evaluation import judge_samples
from megatron_codex.evaluation.judge_samples import evaluate_samples
from megatron_codex.evaluation.sample_index import index_samples
from megatron_codex.journals import journal_name
from megatron_codex.problems.readers import read_problems
from megatron_codex.records import VERDICT_NAMES, Verdict
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program
from tests.evaluation.inputs import (
    RIGHT,
    SLOW,
    command,
    different_samples,
    environment,
    evaluate,
    rows_of,
    sample,
    without_times,
    write_inputs,
    write_lines,
)

JOURNAL = journal_name("verdicts", (0, 1))


def start(arguments: list[str], *, until: int = 1) -> subprocess.Popen[str]:
    """A run that has just written its `until`-th verdict."""
    journal = Path(arguments[-1] + ".partial") / JOURNAL
    before = journal.read_bytes().count(b"\n") if journal.exists() else 0
    run = subprocess.Popen(
        command(*arguments, "--workers", "1"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them, and what they start, ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < before + until:
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[1]
        time.sleep(0.005)
    return run


def end(run: subprocess.Popen[str], number: int) -> str:
    """Send a signal; what it wrote to stderr."""
    run.send_signal(number)
    _, said = run.communicate(timeout=60)
    return said


def processes_of_session(leader: int) -> list[str]:
    asked = ["ps", "-o", "pid=,args=", "--sid", str(leader)]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()


def test_five_kills_lose_nothing_that_was_judged(tmp_path: Path) -> None:
    samples = different_samples(40, SLOW)
    (tmp_path / "whole").mkdir()
    assert evaluate_samples(config_for(tmp_path / "whole", samples))
    killed = write_inputs(tmp_path, samples)
    journal = tmp_path / "results.jsonl.partial" / JOURNAL
    lines = b""
    for _ in range(5):
        assert end(start(killed, until=2), signal.SIGKILL) is not None
        assert journal.read_bytes().startswith(lines), "what was judged is not judged again"
        lines = journal.read_bytes()
        assert not (tmp_path / "results.jsonl").exists()
        lines = lines[: lines.rfind(b"\n") + 1]
    done = evaluate(*killed)
    assert done.returncode == 0, done.stderr
    assert f"{len(lines.splitlines())} of 40 programs are judged already" in done.stderr
    assert without_times(tmp_path / "results.jsonl") == without_times(tmp_path / "whole" / "results.jsonl")
    assert not (tmp_path / "results.jsonl.partial").exists()
    times = {json.loads(line)["program"]: json.loads(line)["cpu_s"] for line in lines.splitlines()}
    written = [row["cpu_s"] for row in rows_of(tmp_path / "results.jsonl")]
    assert all(written[program] == cpu_s for program, cpu_s in times.items()), "the earlier verdicts are the ones used"


def test_interrupt_is_one_line_and_leaves_no_process(tmp_path: Path) -> None:
    arguments = write_inputs(tmp_path, different_samples(200, SLOW))
    run = start(arguments)
    said = end(run, signal.SIGINT)
    assert run.returncode == 130
    *_, line = said.splitlines()
    done = len((tmp_path / "results.jsonl.partial" / JOURNAL).read_bytes().splitlines())
    assert line == f"interrupted: {done} of 200 programs are judged; the same command goes on from there"
    assert "Traceback" not in said
    assert processes_of_session(run.pid) == []


def test_second_run_on_an_output_is_refused_by_name(tmp_path: Path) -> None:
    arguments = write_inputs(tmp_path, different_samples(200, SLOW))
    first = start(arguments)
    try:
        second = dict(zip(("samples", "problems", "output"), map(Path, arguments[1::2]), strict=True))
        message = r"results.jsonl.partial: another process is at work on this output; wait for it, or name another"
        for shard in (None, "1/2"):
            with pytest.raises(InputError, match=message):
                evaluate_samples(EvaluationConfig(**second, shard=shard))
        assert first.poll() is None
    finally:
        end(first, signal.SIGKILL)


class StoppedPool:
    """Stands for the judge: gives the verdicts it is told to give, then somebody presses Ctrl-C."""

    verdicts: ClassVar[dict[int, Any]] = {}

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> StoppedPool:
        return self

    def __exit__(self, *_: object) -> None: ...

    def judge(self, programs: Iterable[Program]) -> Iterator[tuple[int, Verdict]]:
        for number, name in self.verdicts.items():
            yield number, made_up(name)
        raise KeyboardInterrupt


def stopped_run(folder: Path, verdicts: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> EvaluationConfig:
    """The configuration of a run on six samples that was stopped after these verdicts, which no judge would give."""
    config = config_for(folder, different_samples(6))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=r"of 6 programs are judged; the same"):
        patch.setattr(StoppedPool, "verdicts", verdicts)
        patch.setattr(judge_samples, "JudgePool", StoppedPool)
        evaluate_samples(config)
    return config


def config_for(folder: Path, samples: list[Any]) -> EvaluationConfig:
    paths = map(Path, write_inputs(folder, samples)[1::2])
    return EvaluationConfig(**dict(zip(("samples", "problems", "output"), paths, strict=True)), workers=1)


def made_up(name: Any) -> Verdict:
    return Verdict(verdict=name, detail="made up", cpu_s=0.0, wall_s=0.0, isolation="A: made up")


def journal_line(program: int, name: Any) -> str:
    return json.dumps({"program": program, **made_up(name).to_json()}) + "\n"


def verdicts_in(path: Path) -> list[str]:
    return [row["verdict"] for row in rows_of(path)]


TAILS = {
    "torn_line": journal_line(0, "died")[:40],
    "torn_line_that_is_whole_json": journal_line(0, "died")[:-1],
    "zeros": "\0" * 100_000,
    "broken_lines": "{}\n[1]\nnull\n" + '{"program": 0}\n' + journal_line(99, "died") + journal_line(0, "nonsense"),
}


@pytest.mark.parametrize("name", TAILS)
def test_what_a_crash_leaves_at_the_journals_end_is_judged_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = stopped_run(tmp_path, {4: "died"}, monkeypatch)
    with (tmp_path / "results.jsonl.partial" / JOURNAL).open("a") as journal:
        journal.write(TAILS[name])
    evaluate_samples(config)
    assert verdicts_in(tmp_path / "results.jsonl") == ["wrong", "passed", "passed", "wrong", "died", "passed"]
    assert ("6 lines are broken" in caplog.text) == (name == "broken_lines")


def test_run_that_starts_while_another_writes_the_results_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stopped_run(tmp_path, {0: "died"}, monkeypatch)
    monkeypatch.setattr(journals, "_MOMENTS_S", 0.1)
    with (tmp_path / "results.jsonl.partial" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"results.jsonl.partial: another process is at work on this output"):
            evaluate_samples(config)
    assert (tmp_path / "results.jsonl.partial" / JOURNAL).read_text() == journal_line(0, "died")


def test_what_the_harness_failed_at_is_judged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    config = stopped_run(tmp_path, {0: "infra", 1: "infra", 2: "died"}, monkeypatch)
    evaluate_samples(config)
    assert verdicts_in(tmp_path / "results.jsonl") == ["wrong", "passed", "died", "wrong", "passed", "passed"]
    assert "1 of 6 programs are judged already" in caplog.text


def test_results_with_infra_are_written_and_the_next_run_judges_these_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = stopped_run(tmp_path, dict.fromkeys(range(5), "died"), monkeypatch)

    def failing(self: JudgePool, programs: Iterable[Program]) -> Iterator[tuple[int, Verdict]]:
        for number, _ in enumerate(programs):
            yield number, made_up("infra")

    with monkeypatch.context() as patch:
        patch.setattr(JudgePool, "judge", failing)
        summary = evaluate_samples(config)
    assert summary is not None and summary["verdicts"]["infra"] == 1
    assert verdicts_in(tmp_path / "results.jsonl") == ["died"] * 5 + ["infra"]
    evaluate_samples(config)
    assert verdicts_in(tmp_path / "results.jsonl") == ["died"] * 5 + ["passed"]
    assert not (tmp_path / "results.jsonl.partial").exists()


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "samples": ({}, "samples"),
    "problems": ({}, "problems"),
    "timeout": ({"timeout_s": 1.0}, "timeout_s"),
    "memory": ({"memory_bytes": 200_000_000}, "memory_bytes"),
    "level": ({"allow_level_b": True}, "allow_level_b"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_journal_of_another_run_is_refused_and_kept(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stopped_run(tmp_path, {0: "died"}, monkeypatch)
    changes, said = CHANGES[name]
    if name in ("samples", "problems"):
        with (tmp_path / f"{name}.jsonl").open("a") as handle:
            handle.write("\n")
    message = f"results.jsonl.partial: holds unfinished work of a run with other {said}; remove this directory"
    with pytest.raises(InputError, match=message):
        evaluate_samples(dataclasses.replace(config, **changes))
    assert (tmp_path / "results.jsonl.partial" / JOURNAL).read_text() == journal_line(0, "died")


def test_other_ks_and_workers_go_on_with_the_same_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = stopped_run(tmp_path, dict.fromkeys(range(6), "died"), monkeypatch)
    summary = evaluate_samples(dataclasses.replace(config, k=(1, 2), workers=2))
    assert summary is not None and summary["verdicts"] == {**dict.fromkeys(VERDICT_NAMES, 0), "died": 6}


def test_directory_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    config = config_for(tmp_path, [sample()])
    (tmp_path / "results.jsonl.partial").mkdir()
    (tmp_path / "results.jsonl.partial" / "mine").write_text("kept")
    with pytest.raises(InputError, match="holds something else than unfinished verdicts"):
        evaluate_samples(config)
    assert [path.name for path in (tmp_path / "results.jsonl.partial").iterdir()] == ["mine"]


def test_run_that_ends_before_a_verdict_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped_run(tmp_path, {}, monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["problems.jsonl", "samples.jsonl"]


def test_run_that_is_over_leaves_no_journal_and_may_be_repeated(tmp_path: Path) -> None:
    config = config_for(tmp_path, [sample()])
    for _ in range(2):  # the second replaces the results of the first
        assert evaluate_samples(config)
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == ["problems.jsonl", "results.jsonl", "results.jsonl.manifest.json", "samples.jsonl"]


def test_samples_that_change_while_they_are_judged_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(tmp_path, different_samples(6))

    def growing(self: JudgePool, programs: Iterable[Program]) -> Iterator[tuple[int, Verdict]]:
        for number, _ in enumerate(programs):
            write_lines(config.samples, [*different_samples(6), sample(RIGHT)])
            yield number, made_up("passed")

    monkeypatch.setattr(JudgePool, "judge", growing)
    with pytest.raises(InputError, match=r"samples.jsonl: changed while it was judged; run again when nothing writes"):
        evaluate_samples(config)
    assert not config.results_file.exists()


def test_equal_completions_of_other_tasks_are_other_programs(tmp_path: Path) -> None:
    samples = [sample(), sample("a"), sample(task_id="t/other"), sample("a"), sample(), sample("b", "t/other")]
    config = config_for(tmp_path, samples)
    index = index_samples(config.samples, {problem.task_id: problem for problem in read_problems(config.problems)})
    assert index.program_of_sample.tolist() == [0, 1, 2, 1, 0, 3]
    assert index.first_sample.tolist() == [0, 1, 2, 5]
    assert index.task_of_program.tolist() == [0, 0, 1, 1] and index.tasks == ["t/square", "t/other"]


def test_journal_that_somebody_removes_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(tmp_path, different_samples(3))

    def removing(self: JudgePool, programs: Iterable[Program]) -> Iterator[tuple[int, Verdict]]:
        for number, _ in enumerate(programs):
            shutil.rmtree(tmp_path / "results.jsonl.partial", ignore_errors=True)
            yield number, made_up("passed")

    monkeypatch.setattr(JudgePool, "judge", removing)
    with pytest.raises(WorkError, match=r"results.jsonl.partial: was removed while verdicts were written to it"):
        evaluate_samples(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["problems.jsonl", "samples.jsonl"]
