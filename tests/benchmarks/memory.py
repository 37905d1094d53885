"""What the processes of a benchmark hold in memory: of each, its own pages, and with those of mapped files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil


@dataclass
class Peaks:
    """The most that one process held at a time, in bytes, by process."""

    resident: dict[int, int] = field(default_factory=dict)
    """All pages, those of mapped files among them (VmHWM: the kernel's own peak, so nothing is missed)."""
    anonymous: dict[int, int] = field(default_factory=dict)
    """Its own pages alone, at the samples' moments."""


@contextmanager
def watched(process: int, *, every_s: float = 0.1) -> Iterator[Peaks]:
    """Peaks of a process and of those below it, from now until the block is left."""
    peaks, stop = Peaks(), threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            try:
                family = [process, *(child.pid for child in psutil.Process(process).children(recursive=True))]
            except psutil.NoSuchProcess:
                continue
            for one in family:
                _note(one, peaks)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def _note(process: int, peaks: Peaks) -> None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return  # it has ended
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":", 1) for line in lines) if "kB" in rest}
    peaks.resident[process] = max(peaks.resident.get(process, 0), sizes.get("VmHWM", 0))
    peaks.anonymous[process] = max(peaks.anonymous.get(process, 0), sizes.get("RssAnon", 0))
