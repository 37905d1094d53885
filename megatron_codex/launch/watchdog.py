"""The watchdog: python -m megatron_codex.launch.watchdog RUN, a small process on each node of a training job.

In: the ranks' heartbeats (heartbeat.py) in RUN, of this attempt of the job. Out, when one of them has not changed for
training.hang_timeout_s (before a run's second step training.start_timeout_s): RUN/launch/hangs/ATTEMPT.txt, one report
for the whole job (hang_report.py), a line of it on stderr, and the end of all ranks: those that can end themselves with
exit code 77, the others of this node are killed.

It ends by itself, with 0, when its ranks have ended or the process that started it has. Changes are timed by its own
clock, so clocks of nodes need not agree. torch is not imported: a hung job must not need its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from megatron_codex.errors import WorkError, run_command
from megatron_codex.exit_codes import ExitCode
from megatron_codex.files import atomic_file
from megatron_codex.heartbeat import (
    ENDED,
    HEARTBEATS,
    STACKS_SIGNAL,
    Heartbeat,
    process_started,
    read_heartbeats,
    stacks_path,
    this_attempt,
    this_node,
    verdict_path,
)
from megatron_codex.launch.hang_report import Hang, Seen

HANGS = "launch/hangs"

_STACKS_S = 2.0
"""Time that ranks have to write their stacks."""
_NODES_S = 10.0
"""Time that the watchdogs of other nodes have to say what they see: they look at the same files."""
_ENDING_S = 8.0
"""Time that ranks of this node have to end themselves by the verdict, which they look for twice a second."""
_OTHERS_S = 2.0
"""Time that those of other nodes have: the first to end should say 77, not the one that is killed."""


class HangError(WorkError):
    """Ranks no longer move: said once for the job, and by this exit code on each node."""

    exit_code = ExitCode.HANG


@dataclass(kw_only=True)
class Watchdog:
    """Watches the ranks of one attempt, and those of this node's processes."""

    run_dir: Path
    attempt: str
    node: str
    poll_s: float
    parent: int | None = None
    """The process that started this one; None: the one that is its parent now."""
    _changed: dict[int, tuple[Heartbeat, float]] = field(default_factory=dict)
    """Rank -> its newest heartbeat, and when this process first saw it."""
    _alive: set[int] = field(default_factory=set)
    """Ranks of this node that this process has seen alive."""

    def watch(self) -> None:
        """Until the ranks of this node have ended, or the process that started this one. Raises: HangError."""
        parent = os.getppid()
        if parent == 1 and self.parent not in (None, 1):
            return  # it has ended already, and this one was given to init
        # Of an earlier start without a number, as those by hand are: this one has found nothing yet.
        verdict_path(self.run_dir, self.attempt).unlink(missing_ok=True)
        while os.getppid() == parent:
            self._look()
            ranks = self._ranks()
            if ranks and all(beat.phase == ENDED for beat in ranks.values()):
                return
            here = [rank for rank, beat in ranks.items() if beat.node == self.node]
            if self._alive and not any(_is_alive(ranks[rank]) for rank in here):
                return  # killed: their launcher knows
            if self._is_hung(ranks):
                self._end_job(ranks)
            time.sleep(self.poll_s)

    def _look(self) -> None:
        now = time.monotonic()
        for rank, beat in read_heartbeats(self.run_dir, attempt=self.attempt).items():
            if rank not in self._changed or self._changed[rank][0] != beat:
                self._changed[rank] = (beat, now)
            if beat.node == self.node and _is_alive(beat):
                self._alive.add(rank)

    def _ranks(self) -> dict[int, Heartbeat]:
        """The attempt's ranks; of this node those that were alive once: others are an earlier start's."""
        return {
            rank: beat
            for rank, (beat, _) in sorted(self._changed.items())
            if beat.node != self.node or rank in self._alive
        }

    def _is_hung(self, ranks: dict[int, Heartbeat]) -> bool:
        if verdict_path(self.run_dir, self.attempt).exists():
            return bool(ranks)
        now = time.monotonic()
        return any(
            beat.phase != ENDED and now - self._changed[rank][1] > beat.silence_s for rank, beat in ranks.items()
        )

    def _end_job(self, ranks: dict[int, Heartbeat]) -> None:
        mine = {rank: beat for rank, beat in ranks.items() if beat.node == self.node and beat.phase != ENDED}
        self._write_part(mine)
        line = self._report(ranks)
        _end(mine)
        raise HangError(line)

    def _write_part(self, mine: dict[int, Heartbeat]) -> None:
        """Ask this node's ranks for their stacks, and say what their processes look like."""
        before = {rank: len(_content(stacks_path(self.run_dir, rank))) for rank in mine}
        for beat in mine.values():
            _send(beat, STACKS_SIGNAL)
        time.sleep(_STACKS_S)
        part = {}
        for rank, beat in mine.items():
            state, wchan = _process(beat)
            stacks = _content(stacks_path(self.run_dir, rank))[before[rank] :].decode(errors="replace")
            part[rank] = asdict(Seen(state=state, wchan=wchan, stacks=stacks))
        with atomic_file(self._part(self.node), "w") as handle:
            json.dump(part, handle)

    def _report(self, ranks: dict[int, Heartbeat]) -> str:
        """Write the job's one report, or wait until another node's watchdog has; its line."""
        report = self.run_dir / HANGS / f"{self.attempt}.txt"
        nodes = sorted({beat.node for beat in ranks.values()})
        first = nodes[0] == self.node
        deadline = time.monotonic() + (_NODES_S if first else 2 * _NODES_S)
        verdict = verdict_path(self.run_dir, self.attempt)
        while time.monotonic() < deadline and not verdict.exists():
            if first and all(self._part(node).exists() for node in nodes):
                break
            time.sleep(0.1)
        if not verdict.exists():
            seen: dict[int, Seen] = {}
            for node in nodes:
                with contextlib.suppress(FileNotFoundError):
                    part = json.loads(self._part(node).read_text(encoding="utf-8"))
                    seen |= {int(rank): Seen(**values) for rank, values in part.items()}
            hang = Hang(beats=ranks, seen=seen)
            with atomic_file(report, "w") as handle:
                handle.write(hang.text())
            verdict.parent.mkdir(parents=True, exist_ok=True)  # the heartbeats may have been removed
            verdict.touch()
            return f"the ranks hang; {hang.line()}; report: {report}"
        return f"the ranks hang; report: {report}"

    def _part(self, node: str) -> Path:
        return self.run_dir / HEARTBEATS / f"hang-{self.attempt}.{node}.json"


def _end(mine: dict[int, Heartbeat]) -> None:
    """See this node's ranks end: by themselves, or else killed."""
    time.sleep(_OTHERS_S)
    deadline = time.monotonic() + _ENDING_S - _OTHERS_S
    while time.monotonic() < deadline:
        moving = [beat for beat in mine.values() if _is_alive(beat) and _process(beat)[0] not in "Tt"]
        if not moving:
            break
        time.sleep(0.1)
    for beat in mine.values():
        _send(beat, signal.SIGKILL)


def _is_alive(beat: Heartbeat) -> bool:
    return process_started(beat.pid) == beat.process_started


def _send(beat: Heartbeat, number: signal.Signals) -> None:
    if _is_alive(beat):
        with contextlib.suppress(ProcessLookupError):
            os.kill(beat.pid, number)


def _process(beat: Heartbeat) -> tuple[str, str]:
    """(the kernel's letter of a process's state, the kernel's function that it waits in)."""
    if not _is_alive(beat):
        return "X", ""
    try:
        text = Path(f"/proc/{beat.pid}/stat").read_text(encoding="utf-8", errors="replace")
        state = text[text.rindex(")") + 2]
    except OSError:
        return "X", ""
    try:
        wchan = Path(f"/proc/{beat.pid}/wchan").read_text(encoding="utf-8").strip()
    except OSError:
        wchan = ""
    return state, "" if wchan == "0" else wchan


def _content(path: Path) -> bytes:
    """A file's; nothing where somebody has removed it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run_dir", type=Path, help="training.output_dir of the run")
    parser.add_argument("--attempt", default=this_attempt(), help="which start of the job (default: this job's)")
    parser.add_argument("--poll-s", type=float, default=1.0, help="seconds between looks at the heartbeats")
    parser.add_argument("--parent", type=int, help="process with which this one ends (default: the one that starts it)")
    arguments = parser.parse_args()
    for number in (signal.SIGUSR1, signal.SIGTERM):  # which a job sends to all of its processes, for the ranks to save
        signal.signal(number, signal.SIG_IGN)
    os.environ.pop("RANK", None)  # of the rank beside which this was started: this process speaks for itself
    Watchdog(
        run_dir=arguments.run_dir,
        attempt=arguments.attempt,
        node=this_node(),
        poll_s=arguments.poll_s,
        parent=arguments.parent,
    ).watch()


if __name__ == "__main__":
    run_command(main)
