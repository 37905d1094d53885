"""Who is behind, and where the others wait: one report of a hang, from the ranks' last signs of life.

In: heartbeats, and what each node's watchdog saw of its processes. Out: one line for the log, and a text with all
ranks' places and stacks. The rank that is behind is the one that others wait for, not the one that complained.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from megatron_codex.heartbeat import Heartbeat

STATES = {
    "T": "stopped (state T: SIGSTOP, or a suspended job)",
    "t": "stopped by a debugger (state t)",
    "D": "waiting for a disk or a device (state D)",
    "Z": "dead (state Z)",
    "X": "dead",
    "R": "running",
    "S": "sleeping",
}
_CULPABLE = "TtDZX"
"""States of a process that does not go on by itself."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the watchdog of a rank's node saw of its process."""

    state: str
    """The kernel's letter; X: there is no such process."""
    wchan: str
    """The kernel's function that it waits in; empty where the kernel does not say."""
    stacks: str
    """Of all its threads; empty when it did not answer."""


@dataclass(frozen=True, kw_only=True)
class Hang:
    """What is known of a hang."""

    beats: Mapping[int, Heartbeat]
    seen: Mapping[int, Seen]
    """Of ranks whose node has a watchdog that answered."""

    def behind(self) -> list[int]:
        """The ranks that others wait for: stopped or dead; or missing; or not in a collective; or in an earlier one."""
        halted = [rank for rank, seen in self.seen.items() if seen.state in _CULPABLE]
        if halted:
            return sorted(halted)
        missing = sorted(set(range(self.world_size)) - set(self.beats))
        if missing:
            return missing
        active = {rank: beat for rank, beat in self.beats.items() if beat.phase != "ended"}
        working = sorted(rank for rank, beat in active.items() if beat.collective is None)
        if working:
            return working if len(working) < len(active) else self._earliest(active)
        return self._least_advanced(active)

    @staticmethod
    def _earliest(active: Mapping[int, Heartbeat]) -> list[int]:
        step = min(beat.step for beat in active.values())
        return sorted(rank for rank, beat in active.items() if beat.step == step)

    def _least_advanced(self, active: Mapping[int, Heartbeat]) -> list[int]:
        """All wait in collectives: those that have begun fewer of a group's than another rank of the group."""
        most: dict[str, int] = {}
        for beat in active.values():
            for ranks, count in beat.counts.items():
                most[ranks] = max(most.get(ranks, 0), count)
        late = [
            rank for rank, beat in active.items() if any(count < most[ranks] for ranks, count in beat.counts.items())
        ]
        return sorted(late) or self._earliest(active)

    @property
    def world_size(self) -> int:
        """Ranks of the run."""
        return max(beat.world_size for beat in self.beats.values())

    def line(self) -> str:
        """Who is behind and where the others wait, in one line."""
        behind = self.behind()
        names = "; ".join(self._name(rank) for rank in behind[:4])
        more = f" and {len(behind) - 4} more" if len(behind) > 4 else ""
        waits: dict[str, list[int]] = {}
        for rank, beat in sorted(self.beats.items()):
            if rank not in behind and beat.collective is not None:
                waits.setdefault(f"{beat.collective} of ranks {beat.ranks} (step {beat.step})", []).append(rank)
        waiting = "; ".join(f"{_ranks(ranks)} in {place}" for place, ranks in waits.items())
        return f"behind: {names}{more}; waiting: {waiting or 'nobody in a collective'}"

    def _name(self, rank: int) -> str:
        beat, seen = self.beats.get(rank), self.seen.get(rank)
        if beat is None:
            return f"rank {rank}, which gave no sign of life"
        state = f" is {STATES.get(seen.state, seen.state)}" if seen and seen.state in _CULPABLE else ""
        return f"rank {rank} ({beat.node}){state} in {beat.place}"

    def text(self) -> str:
        """The report: the line, a table of all ranks, and the stacks of those that answered, the ones behind first."""
        now = time.time()
        parts = [f"A hang, found {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now))}", "", self.line(), ""]
        for rank in range(self.world_size):
            beat, seen = self.beats.get(rank), self.seen.get(rank)
            if beat is None:
                parts.append(f"rank {rank}: no sign of life")
                continue
            process = "its node's watchdog did not answer"
            if seen is not None:
                process = STATES.get(seen.state, seen.state) + (f" in the kernel's {seen.wchan}" if seen.wchan else "")
            quiet = f"{max(0.0, now - beat.since):.0f} s"
            parts.append(f"rank {rank} ({beat.node}, process {beat.pid}): {beat.place}; for {quiet}; {process}")
        behind = self.behind()
        for rank in sorted(self.seen, key=lambda rank: (rank not in behind, rank)):
            stacks = self.seen[rank].stacks.strip() or "none: it did not answer the signal"
            parts += ["", f"Stacks of rank {rank}:", stacks]
        return "\n".join(parts) + "\n"


def _ranks(ranks: list[int]) -> str:
    few = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank{'s' * (len(ranks) > 1)} {few}"
