"""One evaluation by several processes: under mpirun, srun, in a SLURM array, or by hand, the results are one run's."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_codex import journals
from megatron_codex.config.evaluation import EvaluationConfig
from megatron_codex.errors import ConfigError
from megatron_codex.evaluation.judge_samples import evaluate_samples
from megatron_codex.evaluation.verdict_journal import KnownVerdicts
from megatron_codex.rank import launched_share
from tests.evaluation.inputs import (
    LAUNCHED,
    command,
    different_samples,
    environment,
    rows_of,
    without_times,
    write_inputs,
    write_lines,
)

SAMPLES = different_samples(11)
AS_ROOT = {f"{name}_ALLOW_RUN_AS_ROOT{confirm}": "1" for name in ("OMPI", "PRTE") for confirm in ("", "_CONFIRM")}
MPIRUN = Path(sys.executable).with_name("mpirun")


def slurm_array(number: int, count: int) -> dict[str, str]:
    """As `sbatch --array=1-COUNT` sets it for the task of this number, from 0."""
    return array_task(ID=number + 1, COUNT=count, MIN=1, MAX=count, STEP=1)


def array_task(**numbers: int) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in numbers.items()}


def open_mpi(number: int, count: int) -> dict[str, str]:
    return {"OMPI_COMM_WORLD_RANK": str(number), "OMPI_COMM_WORLD_SIZE": str(count)}


def srun(number: int, count: int) -> dict[str, str]:
    return {"SLURM_PROCID": str(number), "SLURM_STEP_NUM_TASKS": str(count), "SLURM_NTASKS": str(count)}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(LAUNCHED)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("whole")
    assert evaluate_samples(config_for(folder, shard="0/1"))
    return without_times(folder / "results.jsonl")


def config_for(folder: Path, **changes: Any) -> EvaluationConfig:
    paths = map(Path, write_inputs(folder, SAMPLES)[1::2])
    named = dict(zip(("samples", "problems", "output"), paths, strict=True))
    return EvaluationConfig(**named, workers=1, **changes)


def test_tasks_of_an_array_at_the_same_time_write_what_one_run_writes(
    tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    arguments = [*write_inputs(tmp_path, SAMPLES), "--workers", "1"]
    tasks = [
        subprocess.Popen(
            command(*arguments), env=environment(**slurm_array(number, 2)), stdout=-1, stderr=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    said = [task.communicate(timeout=120) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert without_times(tmp_path / "results.jsonl") == whole
    assert sum("pass@1" in stdout for stdout, _ in said) >= 1, "who joins prints the summary"
    assert not (tmp_path / "results.jsonl.partial").exists()
    for number, (_, stderr) in enumerate(said):
        assert f"shard {number}/2" in stderr and f"{6 - number}/{6 - number}" in stderr


@pytest.mark.parametrize("launcher", [open_mpi, srun], ids=lambda launcher: launcher.__name__)
def test_ranks_each_judge_their_share_and_the_last_writes(
    launcher: Any, tmp_path: Path, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (2, 0, 1):
        with monkeypatch.context() as patch:
            for name, value in launcher(number, 3).items():
                patch.setenv(name, value)
            summary = evaluate_samples(config_for(tmp_path))
        assert (summary is None) == (number != 1)
        assert (tmp_path / "results.jsonl").exists() == (number == 1)
    assert without_times(tmp_path / "results.jsonl") == whole


def test_shard_that_died_is_finished_by_any_later_run(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    assert evaluate_samples(config_for(tmp_path, shard="0/3")) is None
    journal = tmp_path / "results.jsonl.partial" / "verdicts-00000-of-00003.jsonl"
    of_the_shard = journal.read_text()
    assert len(of_the_shard.splitlines()) == 4
    assert evaluate_samples(config_for(tmp_path, shard="1/2")) is None, "another division goes on, too"
    summary = evaluate_samples(config_for(tmp_path))
    assert summary is not None and summary["num_samples"] == 11
    assert without_times(tmp_path / "results.jsonl") == whole
    written = [row["cpu_s"] for row in rows_of(tmp_path / "results.jsonl")]
    assert all(f'"program": {n}, ' in of_the_shard and f'"cpu_s": {written[n]}' in of_the_shard for n in (0, 3, 6, 9))


def test_there_may_be_more_shards_than_open_files(
    tmp_path: Path, whole: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(evaluate_samples(config_for(tmp_path, shard=f"{number}/4")) is None for number in range(3))
    close, kept = KnownVerdicts.close, []

    def noting(known: KnownVerdicts) -> None:
        kept.append(len(known._places._open))
        close(known)

    monkeypatch.setattr(KnownVerdicts, "close", noting)
    monkeypatch.setattr(journals, "_MAX_OPEN", 2)
    assert evaluate_samples(config_for(tmp_path, shard="3/4"))
    assert max(kept) == 2
    assert without_times(tmp_path / "results.jsonl") == whole


def test_shard_that_comes_late_finds_the_results_and_does_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = evaluate_samples(config_for(tmp_path))
    before = (tmp_path / "results.jsonl").stat()
    assert evaluate_samples(config_for(tmp_path, shard="1/2")) == first
    assert "results.jsonl is there, of the same inputs and settings; remove it to judge again" in caplog.text
    assert (tmp_path / "results.jsonl").stat() == before
    assert not (tmp_path / "results.jsonl.partial").exists()
    assert evaluate_samples(config_for(tmp_path, shard="1/2", timeout_s=2.0)) is None, "other settings: judged"


def test_more_shards_than_programs_are_no_fault(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    config = config_for(tmp_path)
    write_lines(config.samples, SAMPLES[:2])
    shards = [dataclasses.replace(config, shard=f"{number}/4") for number in (3, 0, 1, 2)]
    assert [evaluate_samples(shard) is None for shard in shards] == [True, True, False, False]
    assert without_times(tmp_path / "results.jsonl") == whole[:2]


def test_real_mpirun_writes_what_one_run_writes(tmp_path: Path, whole: list[dict[str, Any]]) -> None:
    if not MPIRUN.exists():
        pytest.skip("no mpirun beside this Python: pip install 'megatron-codex[mpi]'")
    arguments = [*write_inputs(tmp_path, SAMPLES), "--workers", "1"]
    done = subprocess.run(
        [str(MPIRUN), "--oversubscribe", "-n", "2", *command(*arguments)],
        env=environment(**AS_ROOT),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert without_times(tmp_path / "results.jsonl") == whole
    assert "shard 0/2" in done.stderr and "shard 1/2" in done.stderr


@pytest.mark.slurm
def test_slurm_names_its_tasks_as_they_are_read_here(tmp_path: Path, slurm_cluster: object) -> None:
    """An array's tasks, each of which starts a step of two ranks; its batch script itself is no rank."""
    asks = f"{sys.executable} -c 'from megatron_codex.rank import launched_share; print(*launched_share())'"
    script = tmp_path / "job.sh"
    script.write_text(
        f'#!/bin/sh\n{asks} > batch-$SLURM_ARRAY_TASK_ID\nsrun --overlap sh -c "{asks}" > ranks-$SLURM_ARRAY_TASK_ID\n'
    )
    submitted = ["sbatch", "--wait", "--array=1-3:2", "--ntasks=2", "--output=log-%a", str(script)]
    done = subprocess.run(submitted, cwd=tmp_path, env=environment(), timeout=120, check=False)
    assert done.returncode == 0, [path.read_text() for path in tmp_path.glob("log-*")]
    found = {path.name: sorted(path.read_text().splitlines()) for path in tmp_path.glob("[br]*-*")}
    assert found == {"batch-1": ["0 2"], "batch-3": ["1 2"], "ranks-1": ["0 4", "1 4"], "ranks-3": ["2 4", "3 4"]}


SHARES: dict[str, tuple[dict[str, str], tuple[int, int]]] = {
    "no_launcher": ({}, (0, 1)),
    "mpich": ({"PMI_RANK": "2", "PMI_SIZE": "3"}, (2, 3)),
    "batch_script_of_several_tasks": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, (0, 1)),
    "array_with_step": (array_task(ID=14, COUNT=4, MIN=10, MAX=16, STEP=2), (2, 4)),
    "array_told_by_count_only": (array_task(ID=1, COUNT=2), (1, 2)),
    "one_task_of_an_array_again": (array_task(ID=3, COUNT=1, MIN=3), (0, 1)),
    "ranks_in_an_array": ({**open_mpi(1, 2), **slurm_array(2, 3)}, (5, 6)),
}


@pytest.mark.parametrize("name", SHARES)
def test_share_is_read_from_the_launchers_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, share = SHARES[name]
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert launched_share() == share


UNCLEAR = {
    "no_number": {"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "2"},
    "rank_beyond_its_world": open_mpi(2, 2),
    "array_with_gaps": {**slurm_array(0, 3), "SLURM_ARRAY_TASK_MAX": "9"},
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_unclear_share_is_refused_unless_it_is_given(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in UNCLEAR[name].items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match=r"shard: .*must be I/N with I in 0\.\.N-1 \(.+\); give for example --shard"):
        config_for(tmp_path)
    assert config_for(tmp_path, shard="1/3").share == (1, 3)


@pytest.mark.parametrize("shard", ["", "1", "3/3", "-1/2", "0/0", "a/b", "1/2/3"])
def test_shard_of_another_form_is_refused(shard: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shard: got '.*'; must be I/N with I in 0\.\.N-1"):
        config_for(tmp_path, shard=shard)
