"""job.sh: what becomes of a job by how its ranks ended, and that signals reach them."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from megatron_codex.config.launch import LaunchConfig, RestartsConfig
from megatron_codex.launch.script import render
from tests.launch.fake_slurm import FakeSlurm

REQUEUE = "scontrol requeue 41"
TOLD = "trap 'exit {code}' USR1 TERM; for i in $(seq 300); do sleep 0.02; done; exit 9"
"""A rank that ends when it is told to."""


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    (tmp_path / "slurm").mkdir()
    return FakeSlurm(tmp_path / "slurm")


@pytest.fixture
def config(tmp_path: Path, slurm: FakeSlurm) -> LaunchConfig:
    restarts = RestartsConfig(max_requeues=2, on_failure='env | grep ^MCX_ | sort >"$MCX_RUN_DIR/facts"')
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    rank = str(slurm.folder / "rank")
    return LaunchConfig(command="train", run_dir=run_dir, python=rank, restarts=restarts, preflight=False)


def events(config: LaunchConfig) -> list[str]:
    lines = (config.run_dir / "launch" / f"{config.job_name}.history").read_text().splitlines()
    return [line.split("\t")[4] for line in lines]


def is_done(config: LaunchConfig) -> bool:
    return (config.run_dir / "launch" / "run.done" / "key" / "0").exists()


@pytest.mark.parametrize(
    ("rank", "event", "code"),
    [
        ("exit 0", "done", 0),
        ("exit 1", "failed", 1),
        ("exit 2", "failed", 2),
        ("exit 3", "failed", 3),
        ("exit 75", "requeued", 75),
        ("exit 76", "requeued", 76),
        ("exit 77", "requeued", 77),
        ("exit 78", "requeued", 78),
        ("kill -9 $$", "requeued", 137),
        ("kill -SEGV $$", "requeued", 139),
    ],
)
def test_an_end_decides_what_becomes_of_the_job(
    slurm: FakeSlurm, config: LaunchConfig, rank: str, event: str, code: int
) -> None:
    slurm.rank(rank)
    job = slurm.run(render(config, work_key="key"))
    assert (job.code, events(config)) == (code, ["started", event]), job.output
    assert job.calls == ([REQUEUE] if event == "requeued" else [])
    assert is_done(config) == (code == 0)
    assert (config.run_dir / "facts").exists() == (event == "failed")


@pytest.mark.parametrize(("rank", "event"), [("exit 2", "failed"), ("exit 75", "requeued"), ("exit 1", "failed")])
def test_the_first_rank_to_end_counts_not_those_that_srun_ended(
    slurm: FakeSlurm, config: LaunchConfig, rank: str, event: str
) -> None:
    slurm.rank(rank)
    job = slurm.run(render(config, work_key="key"), srun_code=143)
    assert events(config) == ["started", event], job.output
    assert f"rank 0 on node7 was the first to end, with exit code {rank.split()[1]}" in job.output


def test_a_node_that_is_gone_leaves_srun_to_say_so(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank("exit 0")
    slurm.run(render(config, work_key="key"), srun_code=137)
    assert events(config) == ["started", "requeued"]
    assert not is_done(config)


def test_the_last_requeue_is_followed_by_a_failure(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank("exit 75")
    assert slurm.run(render(config, work_key="key"), restarts=1).calls == [REQUEUE]
    job = slurm.run(render(config, work_key="key"), restarts=2)
    assert (job.calls, job.code) == ([], 75)
    assert "queued again 2 times, which is the most" in job.output


def test_a_failure_is_told_with_its_facts(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank("exit 1")
    slurm.run(render(config, work_key="key"), restarts=1)
    facts = dict(line.split("=", 1) for line in (config.run_dir / "facts").read_text().splitlines())
    assert facts["MCX_RESTARTS"] == "1"
    assert facts["MCX_REASON"] == "the work failed (rank 0 on node7 was the first to end, with exit code 1)"
    assert (facts["MCX_JOB_ID"], facts["MCX_NAME"], facts["MCX_EXIT_CODE"]) == ("41", "run", "1")
    assert facts["MCX_LOG"] == f"{config.run_dir}/launch/run-41.out"


@pytest.mark.parametrize(("hook", "code"), [("exit 5", 5), ("trap '' TERM; sleep 300 & wait", 137)])
def test_a_hook_that_fails_or_hangs_does_not_hide_the_exit_code(
    slurm: FakeSlurm, config: LaunchConfig, hook: str, code: int
) -> None:
    slurm.rank("exit 1")
    config = replace(config, restarts=RestartsConfig(on_failure=hook, on_failure_timeout_s=1))
    job = slurm.run(render(config, work_key="key"))
    assert job.code == 1
    assert f"on_failure ended with exit code {code}; its limit is 1 s" in job.output


def test_bad_nodes_are_kept_out_beside_those_of_the_configuration(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank("exit 76")
    config = replace(config, resources=replace(config.resources, exclude=("node1",)))
    (config.run_dir / "launch").mkdir()
    (config.run_dir / "launch" / "bad_nodes.txt").write_text("node7 disk full\nnode3\tclock\nnode7 again\n")
    job = slurm.run(render(config, work_key="key"))
    assert job.calls == [REQUEUE, "scontrol update JobId=41 ExcNodeList=node1,node3,node7"]


def test_the_warning_before_the_time_limit_reaches_the_ranks(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank(TOLD.format(code=75))
    job = slurm.run(render(config, work_key="key"), signals=[signal.SIGUSR1])
    assert job.calls == ["scancel --signal=USR1 41", REQUEUE]
    assert events(config) == ["started", "told", "requeued"]


@pytest.mark.parametrize(
    ("signals", "queued"),
    [
        pytest.param([signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR1], True, id="warned_thrice"),
        pytest.param([signal.SIGTERM, signal.SIGTERM, signal.SIGTERM], False, id="ended_thrice"),
        pytest.param([signal.SIGTERM, signal.SIGUSR1], False, id="ended_then_warned"),
        pytest.param([signal.SIGUSR1, signal.SIGTERM], False, id="warned_then_ended"),
    ],
)
def test_ranks_are_waited_for_however_many_signals_come(
    slurm: FakeSlurm, config: LaunchConfig, signals: list[signal.Signals], queued: bool
) -> None:
    slurm.rank('trap : USR1 TERM; for i in $(seq 60); do sleep 0.02; done; touch "$MCX_RUN_DIR/saved"; exit 75')
    job = slurm.run(render(config, work_key="key"), signals=signals)
    assert (config.run_dir / "saved").exists()
    assert (job.code, REQUEUE in job.calls) == (75, queued), job.output
    assert events(config)[-1] == ("requeued" if queued else "stopped")


@pytest.mark.parametrize(
    ("name", "queued"), [pytest.param("USR1", True, id="warned"), pytest.param("TERM", False, id="ended")]
)
def test_a_signal_before_there_are_ranks_keeps_them_from_starting(
    slurm: FakeSlurm, config: LaunchConfig, name: str, queued: bool
) -> None:
    told = f'kill -{name} "$(cat "$MCX_RUN_DIR/script")"'  # by what runs before training
    slurm.rank(f'if [ "$1" = tools/train.py ]; then touch "$MCX_RUN_DIR/trained"; else {told}; fi')
    script = render(replace(config, preflight=True), work_key="key")
    job = slurm.run(script.replace("\n", f"\necho $$ >{config.run_dir}/script\n", 1))
    assert not (config.run_dir / "trained").exists()
    assert (job.code, REQUEUE in job.calls) == (75, queued), job.output


def test_a_rank_that_starts_after_the_warning_ends_at_once(slurm: FakeSlurm, config: LaunchConfig) -> None:
    """The warning goes to the ranks that srun has started; it may still be starting them."""
    slurm.rank('touch "$MCX_RUN_DIR/trained"')
    ends = config.run_dir / "launch" / f"{config.job_name}.ends"
    ends.mkdir(parents=True)
    (ends / "41-0.told").touch()
    job = slurm.run(render(config, work_key="key"))
    assert not (config.run_dir / "trained").exists()
    assert (job.code, job.calls) == (75, [REQUEUE])


@pytest.mark.parametrize(
    ("state", "is_back"),
    [
        ("JobState=PENDING Reason=None Requeue=1 Restarts=0", True),
        ("JobState=REQUEUED Reason=None Requeue=1 Restarts=0", True),
        ("JobState=COMPLETING Reason=None Requeue=1 Restarts=1", True),
        ("JobState=COMPLETING Reason=None Requeue=1 Restarts=0", False),
        ("JobState=RUNNING Reason=None Requeue=1 Restarts=0", False),
    ],
)
def test_a_job_that_slurm_has_queued_already_has_not_failed(
    slurm: FakeSlurm, config: LaunchConfig, state: str, is_back: bool
) -> None:
    """The lost rank's node is lost, and SLURM was quicker than the script."""
    slurm.rank("exit 78")
    slurm.refuse_requeue(state)
    job = slurm.run(render(config, work_key="key"))
    assert events(config) == ["started", "requeued"] + ["failed"] * (not is_back), job.output
    assert (config.run_dir / "facts").exists() != is_back
    assert job.code == 78


def test_a_line_of_the_history_has_its_six_fields_whatever_is_told(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank("exit 76")
    (config.run_dir / "launch").mkdir()
    (config.run_dir / "launch" / "bad_nodes.txt").write_text("node7\t2026-11-23T08:16:51Z\tclock: 9 s ahead\n")
    slurm.run(render(config, work_key="key"))
    lines = (config.run_dir / "launch" / f"{config.job_name}.history").read_text().splitlines()
    assert [line.count("\t") for line in lines] == [5, 5]
    assert "\ta bad node is kept out: node7 clock: 9 s ahead (rank 0" in lines[1]


def test_a_job_that_slurm_itself_starts_again_and_again_ends(slurm: FakeSlurm, config: LaunchConfig) -> None:
    """Its node is lost each time, so the script never comes to count."""
    slurm.rank("exit 0")
    assert slurm.run(render(config, work_key="key"), restarts=2).code == 0
    job = slurm.run(render(config, work_key="key"), restarts=3)
    assert (job.code, job.calls, events(config)[-1]) == (1, [], "failed")
    assert "it was queued again 3 times, and restarts.max_requeues is 2" in job.output
    assert (config.run_dir / "facts").exists()


def test_ranks_that_end_their_work_when_warned_are_done(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank(TOLD.format(code=0))
    job = slurm.run(render(config, work_key="key"), signals=[signal.SIGUSR1])
    assert job.code == 0
    assert events(config) == ["started", "told", "done"]


def test_ranks_that_do_not_know_the_warning_start_again(slurm: FakeSlurm, config: LaunchConfig) -> None:
    """A Python program without a handler is ended by SIGUSR1: exit code 128 + 10."""
    slurm.rank("exec sleep 30")
    job = slurm.run(render(config, work_key="key"), signals=[signal.SIGUSR1])
    assert job.calls == ["scancel --signal=USR1 41", REQUEUE]
    assert "signal 10" in job.output


def test_bad_input_is_not_queued_again_even_when_warned(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank(TOLD.format(code=2))
    job = slurm.run(render(config, work_key="key"), signals=[signal.SIGUSR1])
    assert (job.calls, job.code) == (["scancel --signal=USR1 41"], 2)


def test_whatever_code_a_warned_rank_ends_with_the_job_goes_back(slurm: FakeSlurm, config: LaunchConfig) -> None:
    slurm.rank(TOLD.format(code=9))  # a program that knows of no signal's meaning
    job = slurm.run(render(config, work_key="key"), signals=[signal.SIGUSR1])
    assert events(config)[-1] == "requeued", job.output
    assert job.calls[-1] == REQUEUE


def test_what_slurm_ends_is_not_queued_again(slurm: FakeSlurm, config: LaunchConfig) -> None:
    """SLURM tells script and ranks; after scancel the job must not come back, after a requeue it does by itself."""
    slurm.rank("sleep 0.3; exit 75")
    job = slurm.run(render(config, work_key="key"), signals=[signal.SIGTERM])
    assert (job.calls, events(config)) == ([], ["started", "stopped"])
    assert not (config.run_dir / "facts").exists()


@pytest.mark.parametrize("name", ["it's", "$(touch evil)", "`touch evil`", 'a"b', "a;touch evil", "a b", "-n", "é\\"])
def test_a_hostile_name_stays_one_word(slurm: FakeSlurm, config: LaunchConfig, tmp_path: Path, name: str) -> None:
    slurm.rank('printf "%s\\n" "$@" >"$MCX_RUN_DIR/words"')
    run_dir = tmp_path / f"x{name}"
    run_dir.mkdir()
    arguments = (f"--input={name}", "data.problems={run_dir}/a")
    config = replace(config, command="report", run_dir=run_dir, arguments=arguments, environment=(f"A={name}",))
    job = slurm.run(render(config, work_key="key"))
    assert job.code == 0, job.output
    words = (run_dir / "words").read_text().splitlines()
    assert words[:2] == ["tools/report.py", f"--input={name}"]
    assert not (slurm.folder / "evil").exists()
    assert not Path("evil").exists()
