"""Control groups: a bound on memory and processes of one worker and all its programs together, where one may be set.

In: limits. Out: a group for one worker process, or None where this user may make none (then the limits of each process
and of the user namespace hold alone). Version 2 where it has the controllers and is delegated, else version 1.
A driver that was killed leaves its empty groups; the next one that starts takes them away.
Source: Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"megatron_codex\.(\d+)\.(\d+)\.\d+")
_CONTROLLERS = ("memory", "pids")
_REMOVE_S = 2.0
_numbers = itertools.count()


@dataclass(frozen=True)
class ControlGroup:
    """directories: one (version 2), or one for each controller (version 1)."""

    directories: tuple[Path, ...]

    def add(self, pid: int) -> None:
        """Put a process in; its children follow. Raises OSError."""
        for directory in self.directories:
            (directory / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Take the group away, as soon as the last of its processes is gone."""
        deadline = time.monotonic() + _REMOVE_S
        for directory in self.directories:
            while directory.is_dir():
                try:
                    directory.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        return  # a later driver's sweep finds it
                    time.sleep(0.005)


def make_control_group(*, memory_bytes: int, num_processes: int) -> ControlGroup | None:
    """A group with these limits, or None where this user may make none."""
    parents = _version_2() or _version_1()
    if parents is None:
        return None
    _sweep(parents)
    name = f"megatron_codex.{os.getpid()}.{_start_time(os.getpid())}.{next(_numbers)}"
    made: list[Path] = []
    try:
        for parent in parents:
            (parent / name).mkdir()
            made.append(parent / name)
        for directory in made:
            _set_limits(directory, memory_bytes=memory_bytes, num_processes=num_processes)
    except OSError:
        ControlGroup(tuple(made)).remove()
        return None
    return ControlGroup(tuple(made))


def _set_limits(directory: Path, *, memory_bytes: int, num_processes: int) -> None:
    limits = {"memory.max": memory_bytes, "memory.limit_in_bytes": memory_bytes, "pids.max": num_processes}
    known = {name: value for name, value in limits.items() if (directory / name).exists()}
    if not known:
        raise FileNotFoundError(directory)  # the controllers were not handed down
    for name, value in known.items():
        (directory / name).write_text(str(value))


def _version_2() -> tuple[Path, ...] | None:
    """This process's own group, when it may have children with both controllers."""
    mounted = _mount_points("cgroup2")
    own = next((line.partition("::")[2] for line in _own_groups() if line.startswith("0::")), None)
    if not mounted or own is None:
        return None
    directory = Path(mounted[0] + own)
    wanted = set(_CONTROLLERS)
    with suppress(OSError):
        if wanted - set((directory / "cgroup.controllers").read_text().split()):
            return None
        handed_down = directory / "cgroup.subtree_control"
        if wanted - set(handed_down.read_text().split()):
            handed_down.write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
        return (directory,)
    return None


def _version_1() -> tuple[Path, ...] | None:
    """This process's own groups of both controllers."""
    mounted = {name: point for point in _mount_points("cgroup") for name in Path(point).name.split(",")}
    own = {name: path for line in _own_groups() for _, names, path in [line.split(":", 2)] for name in names.split(",")}
    if not all(name in mounted and name in own for name in _CONTROLLERS):
        return None
    return tuple(Path(mounted[name] + own[name]) for name in _CONTROLLERS)


def _sweep(parents: tuple[Path, ...]) -> None:
    """Remove the groups of drivers that are gone."""
    for parent in parents:
        with suppress(OSError):
            for directory in parent.iterdir():
                found = _NAME.fullmatch(directory.name)
                if found and _start_time(int(found[1])) != found[2]:
                    with suppress(OSError):
                        directory.rmdir()


def _start_time(pid: int) -> str:
    """When a process started, in ticks since boot: tells it from another that has its number later; "" if none has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _own_groups() -> list[str]:
    try:
        return Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []


def _mount_points(kind: str) -> list[str]:
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return []
    return [point for _, point, found, *_ in mounts if found == kind]
