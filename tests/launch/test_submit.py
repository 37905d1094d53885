"""Submitting once, and only what is left; status from queue and files. With programs that stand for SLURM's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.config.launch import ArrayConfig, ChainConfig, LaunchConfig, StatusConfig
from megatron_codex.errors import InputError, WorkError
from megatron_codex.launch.chain import submit_chain
from megatron_codex.launch.status import StageStatus, run_status, status_text
from megatron_codex.launch.submit import read_jobs, submit, submitted_work

_SBATCH = """#!/bin/bash
[ -z "${SBATCH_PARTITION:-}" ] || exit 9
cat >>"$FOLDER/scripts"
echo "$*" >>"$FOLDER/sbatch.calls"
if [ -e "$FOLDER/refuses" ] && [ "$(wc -l <"$FOLDER/sbatch.calls")" -ge "$(cat "$FOLDER/refuses")" ]; then
    cat "$FOLDER/refusal" >&2; exit 1
fi
echo $((100 + $(wc -l <"$FOLDER/sbatch.calls")))
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder: what sbatch was called with, and `queue`, which squeue prints."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    programs = {
        "sbatch": _SBATCH,
        "squeue": '#!/bin/bash\ncat "$FOLDER/queue"\n',
        "scancel": '#!/bin/bash\necho "$*" >>"$FOLDER/scancel.calls"\n',
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "queue").write_text("")
    (folder / "refusal").write_text("sbatch: error: invalid partition specified: nowhere\n")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("FOLDER", str(folder))
    monkeypatch.setenv("SBATCH_PARTITION", "another")
    return folder


def sampling(tmp_path: Path, **values: object) -> LaunchConfig:
    given = {
        "command": "sample",
        "run_dir": tmp_path / "run",
        "arguments": ("--checkpoint=c", "--problems=p", f"--output={tmp_path}/run/samples.jsonl"),
        "array": ArrayConfig(tasks=6, at_a_time=2),
    }
    return LaunchConfig(**(given | values))  # type: ignore[arg-type]


def finish(config: LaunchConfig, *tasks: int) -> None:
    """As the jobs' scripts do."""
    work = submitted_work(config)
    for task in tasks:
        work.mark_done(task)


def calls(slurm: Path, program: str = "sbatch") -> list[str]:
    path = slurm / f"{program}.calls"
    return path.read_text().splitlines() if path.exists() else []


def test_a_job_is_submitted_once(slurm: Path, tmp_path: Path) -> None:
    config = sampling(tmp_path)
    assert str(submit(submitted_work(config))) == f"run: job 101, log {tmp_path}/run/launch/run-101_*.out"
    (slurm / "queue").write_text("101|0|RUNNING|None|node1|59:00\n101|1|PENDING|Priority||1:00:00\n")
    again = submit(submitted_work(config))
    assert (again.job, again.is_new) == ("101", False)
    assert calls(slurm) == ["--parsable"]
    assert (tmp_path / "run/launch/run.sbatch").read_text() == (slurm / "scripts").read_text()


def test_only_what_is_left_is_submitted_again(slurm: Path, tmp_path: Path) -> None:
    config = sampling(tmp_path)
    submit(submitted_work(config))
    finish(config, 0, 3)
    assert submit(submitted_work(config)).job == "102"
    assert calls(slurm)[1] == "--parsable --array=1-2,4-5%2"
    assert [line["tasks"] for line in read_jobs(tmp_path / "run/launch/run.jobs")] == [[*range(6)], [1, 2, 4, 5]]


def test_what_is_done_is_not_submitted(slurm: Path, tmp_path: Path) -> None:
    config = sampling(tmp_path)
    finish(config, *range(6))
    (tmp_path / "run/samples.jsonl").write_text("")
    assert submit(submitted_work(config)).job is None
    assert calls(slurm) == []


def test_done_work_whose_output_is_gone_is_done_again(slurm: Path, tmp_path: Path) -> None:
    config = sampling(tmp_path)
    finish(config, *range(6))
    assert submit(submitted_work(config)).job == "101"
    assert not list((tmp_path / "run/launch/run.done").glob("*/*"))


def test_other_values_are_other_work(slurm: Path, tmp_path: Path) -> None:
    config = sampling(tmp_path)
    finish(config, *range(6))
    (tmp_path / "run/samples.jsonl").write_text("")
    other = replace(config, arguments=(*config.arguments, "--seed=7"))
    assert submit(submitted_work(other)).job == "101"
    (slurm / "queue").write_text("101|0|RUNNING|None|node1|59:00\n")
    third = replace(config, arguments=(*config.arguments, "--seed=8"))
    with pytest.raises(InputError, match="job 101 of run is in the queue, with other values"):
        submit(submitted_work(third))


def test_resources_do_not_make_other_work(tmp_path: Path) -> None:
    config = sampling(tmp_path)
    changed = replace(config, resources=replace(config.resources, partition="gpu", time_minutes=7))
    assert submitted_work(changed).key == submitted_work(config).key


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ("sbatch: error: invalid partition specified: nowhere", InputError),
        ("sbatch: error: Unable to contact slurm controller (connect failure)", WorkError),
    ],
)
def test_a_refused_job_leaves_nothing(slurm: Path, tmp_path: Path, refusal: str, kind: type[Exception]) -> None:
    (slurm / "refuses").write_text("1")
    (slurm / "refusal").write_text(refusal)
    with pytest.raises(kind, match=refusal.partition("error: ")[2].split(" (")[0]):
        submit(submitted_work(sampling(tmp_path, run_dir=tmp_path / "new" / "newer" / "run")))
    assert not (tmp_path / "new").exists()


def test_no_slurm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch is not on the PATH"):
        submit(submitted_work(sampling(tmp_path)))


def test_the_project_must_be_there(slurm: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"project_dir.*sample.py is not there"):
        submit(submitted_work(sampling(tmp_path, project_dir=tmp_path / "no")))


@pytest.fixture
def chain(tmp_path: Path) -> ChainConfig:
    stages = {
        "one": {"command": "report", "arguments": ["--run={run_dir}", "--output={run_dir}/one.html"]},
        "two": {"command": "report", "arguments": ["--run={run_dir}", "--output={run_dir}/two.html"]},
        "three": {"command": "report", "arguments": ["--run=x", "--output={run_dir}/3.html"], "after": ["one"]},
        "four": {"command": "report", "arguments": ["--run=x", "--output={run_dir}/4.html"], "after": ["two", "three"]},
    }
    for name, stage in stages.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps(stage))
    return ChainConfig(stages=tuple(tmp_path / f"{name}.yaml" for name in stages), run_dir=tmp_path / "chain")


def test_stages_wait_for_those_before_them(slurm: Path, chain: ChainConfig) -> None:
    submit_chain(chain)
    waits = [call.removeprefix("--parsable").strip() for call in calls(slurm)]
    assert waits == ["", "--dependency=afterok:101", "--dependency=afterok:101", "--dependency=afterok:102:103"]


def test_a_chain_goes_on_behind_what_is_done(slurm: Path, chain: ChainConfig) -> None:
    first = submit_chain(chain)[0].work
    first.mark_done(0)
    first.outputs[0].write_text("")
    (slurm / "queue").write_text("103|N/A|PENDING|Dependency||1:00\n")
    again = submit_chain(chain)
    assert [each.job for each in again] == [None, "105", "103", "106"]
    assert calls(slurm)[4:] == ["--parsable", "--parsable --dependency=afterok:105:103"]


def test_a_chain_whose_stage_is_refused_is_taken_back(slurm: Path, chain: ChainConfig) -> None:
    (slurm / "refuses").write_text("3")
    with pytest.raises(InputError):
        submit_chain(chain)
    assert calls(slurm, "scancel") == ["101 102"]


def test_what_was_in_the_queue_before_is_not_taken_back(slurm: Path, chain: ChainConfig) -> None:
    submit_chain(replace(chain, stages=chain.stages[:1]))
    (slurm / "queue").write_text("101|N/A|RUNNING|None|node1|1:00\n")
    (slurm / "refuses").write_text("3")
    with pytest.raises(InputError):
        submit_chain(chain)
    assert calls(slurm, "scancel") == ["102"]


def test_a_changed_stage_makes_those_after_it_other_work(slurm: Path, chain: ChainConfig, tmp_path: Path) -> None:
    before = [each.work.key for each in submit_chain(chain)]
    (tmp_path / "three.yaml").write_text(
        json.dumps({"command": "report", "arguments": ["--run=y", "--output={run_dir}/3.html"], "after": ["one"]})
    )
    after = [each.work.key for each in submit_chain(chain)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False]


@pytest.fixture
def training(slurm: Path, tmp_path: Path) -> Path:
    """A run directory whose training was submitted as job 101."""
    config = LaunchConfig(
        command="train",
        run_dir=tmp_path / "base",
        arguments=(
            *("model.num_layers=1", "model.hidden_size=8", "model.num_attention_heads=1", "model.seq_length=8"),
            *("optimizer.lr=1e-3", "training.train_iters=1000", "training.global_batch_size=1", "data.data_prefix=x"),
        ),
    )
    submit(submitted_work(config))
    return tmp_path / "base"


def row(run: Path) -> StageStatus:
    (status,) = run_status(StatusConfig(run=run))
    return status


def tell(run: Path, *events: tuple[int, str, str]) -> None:
    with (run / "launch/base.history").open("a") as handle:
        for restarts, event, detail in events:
            handle.write(f"2026-01-01T00:00:00Z\t101\t0\t{restarts}\t{event}\t{detail}\n")


def test_status_tells_step_loss_speed_and_time_left(training: Path, slurm: Path) -> None:
    (slurm / "queue").write_text("101|N/A|RUNNING|None|node[1-2]|23:00\n")
    tell(training, (0, "started", "on node1"), (0, "requeued", "stopped after saving"), (1, "started", "on node1"))
    lines = [{"step": step, "loss": 5.0 - step / 100, "num_tokens": 300, "step_time_s": 3.0} for step in range(1, 101)]
    (training / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 101, "lo')
    (training / "config.yaml").write_text("training: {train_iters: 1000}")
    status = row(training)
    assert (status.state, status.restarts) == ("running", 1)
    assert status.progress is not None
    assert (status.progress.step, status.progress.loss) == (100, 4.0)
    assert (status.progress.tokens_per_s, status.progress.left_s) == (100.0, 2700.0)
    assert "step 100/1000, loss 4.0000, 100 tokens/s, 45 min left; on node[1-2]" in status_text([status])


def waiting(slurm: Path) -> None:
    (slurm / "queue").write_text("101|N/A|PENDING|Resources||1:00:00\n")


def ended(slurm: Path) -> None:
    (slurm / "queue").write_text("99|N/A|RUNNING|None|node1|1:00\n")


@pytest.mark.parametrize(
    ("events", "queue", "state", "detail"),
    [
        ([], waiting, "waiting", "Resources"),
        ([(0, "requeued", "lost ranks")], waiting, "waiting", "Resources; before: lost ranks"),
        ([], ended, "gone", "left the queue before it started"),
        ([(0, "started", "on n1"), (0, "failed", "bad input")], ended, "failed", "bad input; log /"),
        ([(0, "started", "on n1"), (0, "stopped", "by SLURM")], ended, "stopped", "by SLURM"),
        ([(0, "started", "on n1")], ended, "lost", "launch/base-101.out"),
    ],
)
def test_status_tells_how_a_job_waits_or_ended(
    training: Path,
    slurm: Path,
    events: list[tuple[int, str, str]],
    queue: Callable[[Path], None],
    state: str,
    detail: str,
) -> None:
    queue(slurm)
    tell(training, *events)
    status = row(training)
    assert status.state == state
    assert detail in status.detail
    assert status.progress is None


def test_a_later_job_is_not_told_by_an_earlier_ones_end(training: Path, slurm: Path) -> None:
    ended(slurm)
    tell(training, (3, "started", "on n1"), (3, "failed", "bad input"))
    with (training / "launch/base.jobs").open("a") as handle:
        handle.write(json.dumps({"job": "105", "key": "k", "tasks": [0], "after": [], "submitted_at": 0}) + "\n")
    assert (row(training).state, row(training).restarts) == ("gone", 0)
    with (training / "launch/base.history").open("a") as handle:
        handle.write("2026-01-01T00:00:00Z\t106\t0\t0\tstopped\tby SLURM\n")
    assert (row(training).state, row(training).detail) == ("stopped", "by SLURM")


def test_status_needs_no_slurm(training: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tell(training, (0, "started", ""), (0, "done", ""))
    (training / "launch/base.done/key").mkdir(parents=True)
    (training / "launch/base.done/key/0").touch()
    assert row(training).state == "done"


def test_status_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was launched there"):
        run_status(StatusConfig(run=tmp_path))
