"""examples/stages.sh: each stage once, again when something before it changed; lanes end with the script."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

STAGES = Path(__file__).parents[2] / "examples" / "stages.sh"


def script(run: Path, body: str) -> list[str]:
    return ["bash", "-c", f'set -euo pipefail\nRUN="{run}"\n. "{STAGES}"\n{body}']


def run_script(run: Path, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(script(run, body), capture_output=True, text=True, timeout=60)


def make(name: str, text: str = "x") -> str:
    """A stage that writes RUN/NAME/file."""
    return f'stage {name} bash -c \'mkdir -p "$0"; echo {text} >>"$0/file"\' "$RUN/{name}"\n'


def test_a_stage_is_reused(tmp_path: Path) -> None:
    first = run_script(tmp_path, make("one") + make("two"))
    again = run_script(tmp_path, make("one") + make("two"))
    assert (first.returncode, again.returncode) == (0, 0)
    assert "done before" not in first.stdout
    assert again.stdout.splitlines() == ["== one: done before", "== two: done before"]
    assert (tmp_path / "two/file").read_text() == "x\n"


def test_a_changed_argument_runs_the_stage_and_what_follows_anew(tmp_path: Path) -> None:
    run_script(tmp_path, make("one") + make("two") + make("three"))
    again = run_script(tmp_path, make("one") + make("two", "y") + make("three"))
    assert [line for line in again.stdout.splitlines() if line.startswith("==")] == [
        "== one: done before",
        "== two",
        "== three",
    ]
    assert (tmp_path / "two/file").read_text() == "y\n"


def test_a_changed_config_file_runs_the_stage_anew(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    body = f'stage one bash -c \'mkdir -p "$0"; cp "$1" "$0/copy"\' "$RUN/one" {config}\n'
    for text in ("a: 1\n", "a: 2\n"):
        config.write_text(text)
        assert run_script(tmp_path, body).returncode == 0
        assert (tmp_path / "one/copy").read_text() == text


@pytest.mark.parametrize(("kind", "left"), [("stage", "two\n"), ("resumable", "one\ntwo\n")])
def test_an_unfinished_output_goes_unless_the_stage_continues_it(tmp_path: Path, kind: str, left: str) -> None:
    fault = tmp_path / "fault"
    fault.touch()
    command = (
        f'mkdir -p "$0"; [ -e {fault} ] && {{ echo one >>"$0/file"; echo broken >&2; exit 3; }}; echo two >>"$0/file"'
    )
    body = f"{kind} work bash -c '{command}' \"$RUN/work\"\n"
    failed = run_script(tmp_path, body)
    assert failed.returncode == 1
    assert failed.stderr.splitlines() == [
        f"error: stage work failed; the end of its log {tmp_path}/logs/work.log:",
        *(tmp_path / "logs/work.log").read_text().splitlines()[-5:],
    ]
    assert "broken" in failed.stderr
    fault.unlink()
    assert run_script(tmp_path, body).returncode == 0
    assert (tmp_path / "work/file").read_text() == left


LANES = """
left() {{ {left} }}
right() {{ {right} }}
lane left
lane right
join_lanes
{after}
"""


def test_what_follows_the_lanes_depends_on_each_of_them(tmp_path: Path) -> None:
    def lanes(left: str, right: str) -> str:
        return LANES.format(left=make("left", left), right=make("right", right), after=make("after"))

    assert run_script(tmp_path, lanes("x", "x")).returncode == 0
    same = run_script(tmp_path, lanes("x", "x"))
    assert sorted(same.stdout.splitlines()) == [
        "== after: done before",
        "== left: done before",
        "== right: done before",
    ]
    changed = run_script(tmp_path, lanes("x", "y"))
    assert "== left: done before" in changed.stdout
    assert "== after\n" in changed.stdout


def test_a_failed_lane_stops_the_run_at_the_join(tmp_path: Path) -> None:
    body = LANES.format(left=make("left"), right="stage right false\n", after=make("after"))
    failed = run_script(tmp_path, body)
    assert failed.returncode == 1
    assert "error: stage right failed" in failed.stderr
    assert (tmp_path / "left/file").exists()
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_lanes_too(tmp_path: Path, ending: signal.Signals) -> None:
    sleeper = f"stage sleeper bash -c 'echo $$ >{tmp_path}/pid; sleep 60'\n"
    body = f"work() {{ {sleeper} }}\nlane work\njoin_lanes\n"
    # What runs in the background of a shell has Ctrl-C ignored, which its children cannot undo: bash would not hear it.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(script(tmp_path, body), preexec_fn=heed) as process:
        pid = _wait_for_text(tmp_path / "pid")
        process.send_signal(ending)
        try:
            assert process.wait(timeout=30) == 128 + ending
        finally:
            process.kill()
    _wait_until_gone(int(pid))


def _wait_for_text(path: Path) -> str:
    for _ in range(300):
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


def _wait_until_gone(pid: int) -> None:
    for _ in range(300):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} lives on")
