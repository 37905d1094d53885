"""A rank's heartbeat says what it does, changes when that does, and gives its stacks when it is asked."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from megatron_codex.heartbeat import STACKS_SIGNAL, heartbeat_path, stacks_path, verdict_path
from megatron_codex.training.heart import Heart


@dataclass
class Call:
    """A collective that a rank is in."""

    name: str
    ranks: str


@dataclass
class Calls:
    """As parallel/collective_calls.py tells them."""

    current: Call | None = None
    counts: dict[str, int] = field(default_factory=dict)


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read(run: Path, rank: int = 1) -> dict[str, object]:
    try:
        return dict(json.loads(heartbeat_path(run, rank).read_bytes()))
    except ValueError:  # being written
        return {}


def heart(run: Path, calls: Calls, *, rank: int = 1) -> Heart:
    return Heart(run, rank=rank, world_size=2, hang_timeout_s=5, start_timeout_s=9, calls=calls)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCX_ATTEMPT", "8-1")


def test_a_heartbeat_follows_what_the_rank_does_to_its_end(tmp_path: Path) -> None:
    calls = Calls()
    with heart(tmp_path, calls) as beating:
        wait_for(lambda: read(tmp_path).get("phase") == "starting")
        beating.beat(step=3, phase="checkpoint")
        calls.current, calls.counts["0,1"] = Call("allreduce", "0,1"), 7
        wait_for(lambda: read(tmp_path).get("collective") == "allreduce")
        found = read(tmp_path)
        assert (found["step"], found["phase"], found["ranks"], found["counts"]) == (3, "checkpoint", "0,1", {"0,1": 7})
        assert (found["attempt"], found["pid"], found["hang_timeout_s"]) == ("8-1", os.getpid(), 5)
        assert beating.doing == "step 3, checkpoint, in allreduce of ranks 0,1"
    assert read(tmp_path)["phase"] == "ended"


def test_nothing_is_written_while_nothing_changes(tmp_path: Path) -> None:
    with heart(tmp_path, Calls()):
        wait_for(lambda: bool(read(tmp_path)))
        written = heartbeat_path(tmp_path, 1).stat().st_mtime_ns
        time.sleep(1.2)  # more than two looks
        assert heartbeat_path(tmp_path, 1).stat().st_mtime_ns == written


def test_a_rank_that_is_asked_writes_its_stacks(tmp_path: Path) -> None:
    with heart(tmp_path, Calls()):
        os.kill(os.getpid(), STACKS_SIGNAL)
        wait_for(lambda: "test_a_rank_that_is_asked_writes_its_stacks" in stacks_path(tmp_path, 1).read_text())


@pytest.mark.parametrize(("rank", "there"), [(0, False), (1, True)])
def test_the_first_rank_takes_an_earlier_starts_verdict_away(tmp_path: Path, rank: int, there: bool) -> None:
    verdict = verdict_path(tmp_path, "8-1")
    verdict.parent.mkdir()
    verdict.touch()
    with heart(tmp_path, Calls(), rank=rank):
        assert verdict.exists() == there
