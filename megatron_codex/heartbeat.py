"""A rank's last sign of life, in a file: what it is doing, and since when. Written by training, read by the watchdog.

RUN/heartbeats/rank-00003.json is one line of JSON, padded with spaces and written in place: a reader that meets a half
of it reads again. RUN/heartbeats/rank-00003.stacks has the rank's stacks, once somebody has asked for them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HEARTBEATS = "heartbeats"
STACKS_SIGNAL = signal.SIGUSR2
"""Makes a rank write its stacks, whatever it is doing, unless it is stopped or the kernel does not give it back."""
ENDED = "ended"
STARTING = "starting"

_LINE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What a rank is doing."""

    rank: int
    world_size: int
    node: str
    pid: int
    process_started: str
    """When the process started, in the kernel's ticks: its number may be given to another one later."""
    attempt: str
    """Which start of the job it belongs to."""
    step: int = 0
    """The step it works on, counted from 1; 0: none yet."""
    phase: str = STARTING
    """starting, step, evaluation, checkpoint or ended."""
    collective: str | None = None
    """The collective that it is in; None: it computes, reads or writes."""
    ranks: str | None = None
    """That one's group."""
    since: float = 0.0
    """When it was first seen there, seconds of the Unix clock of its node."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """A group's ranks -> collectives that it has begun there."""
    hang_timeout_s: float
    start_timeout_s: float

    @property
    def silence_s(self) -> float:
        """How long it may go on without a change."""
        return self.start_timeout_s if self.phase == STARTING or self.step <= 1 else self.hang_timeout_s

    @property
    def place(self) -> str:
        """For people: where in its work it is."""
        where = (
            self.phase if not self.step else f"step {self.step}" + ("" if self.phase == "step" else f", {self.phase}")
        )
        return where if self.collective is None else f"{where}, in {self.collective} of ranks {self.ranks}"


def heartbeat_path(run_dir: Path, rank: int) -> Path:
    """The file of a rank's last sign of life."""
    return run_dir / HEARTBEATS / f"rank-{rank:05d}.json"


def stacks_path(run_dir: Path, rank: int) -> Path:
    """The file of a rank's stacks."""
    return heartbeat_path(run_dir, rank).with_suffix(".stacks")


def verdict_path(run_dir: Path, attempt: str) -> Path:
    """The file whose existence tells the ranks of an attempt that they hang: those that can, end."""
    return run_dir / HEARTBEATS / f"hang-{attempt}"


def write_heartbeat(descriptor: int, beat: Heartbeat) -> None:
    """Write it into an open file, in one call."""
    line = json.dumps(asdict(beat)).encode()
    os.pwrite(descriptor, line.ljust(_LINE_BYTES - 1) + b"\n", 0)


def read_heartbeats(run_dir: Path, *, attempt: str) -> dict[int, Heartbeat]:
    """Rank -> its last sign of life, of one attempt; what cannot be read now is left out."""
    found = {}
    for path in sorted((run_dir / HEARTBEATS).glob("rank-*.json")):
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
            beat = Heartbeat(**content)
        except (OSError, ValueError, TypeError):
            continue
        if beat.attempt == attempt:
            found[beat.rank] = beat
    return found


def this_attempt() -> str:
    """Which start of which job this process belongs to, by its launcher's environment; "local" without one."""
    if "MCX_ATTEMPT" in os.environ:
        return os.environ["MCX_ATTEMPT"]
    if "SLURM_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    return "local"


def this_node() -> str:
    """This machine's name, as its scheduler says it."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def process_started(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's ticks; None: there is no such process.

    Source: proc(5), field 22 of stat, counted after the name, which may hold anything.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *others = text[text.rindex(")") + 2 :].split()
    return None if state in "ZX" else others[18]
