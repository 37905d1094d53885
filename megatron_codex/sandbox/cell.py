"""A cell: what one judged program has to itself, made ready before the program comes.

In: where the worker is. Out: a mount namespace with a private tmpfs (level A), and the Landlock ruleset that names it.
Making a cell costs more than a program's fork, so a cell that nobody touched serves the next program (csrc/sandbox/
worker.c looks); one that its program touched in any way that can be seen afterwards is thrown away.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from megatron_codex.sandbox import kernel, landlock, places, root_directory
from megatron_codex.sandbox.seccomp import ProfileName


class Place(NamedTuple):
    """Where cells are made: the worker's own view of the machine."""

    profile: ProfileName
    landlock_abi: int
    readable: tuple[str, ...]
    list_only: tuple[str, ...]
    scratch: str
    """Where a program finds its private tmpfs (level A)."""
    processes: int
    """Descriptor of a /proc in which this process can find itself."""
    mounts: int | None
    """The worker's mount namespace (None: level B, which has none to give)."""


def build_cell(place: Place) -> tuple[int, int, int]:
    """A fresh cell for one judged program: descriptors of its Landlock ruleset, mount namespace and tmpfs.

    -1 where level B has none. Raises OSError.
    """
    if place.mounts is None:
        return _build_ruleset(place, ()), -1, -1
    kernel.unshare(kernel.NEW_MOUNT)
    try:
        root_directory.mount_scratch(place.scratch)
        scratch = os.open(place.scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mounts = open_own_mounts(place.processes)
        # After the mount: Landlock's rules name inodes, and the fresh tmpfs has a new one.
        ruleset = _build_ruleset(place, (place.scratch,))
    finally:
        kernel.enter_namespaces(place.mounts, kernel.NEW_MOUNT)
    return ruleset, mounts, scratch


def build_project_cell(place: Place) -> int:
    """The mounts of a project's run, made by its own process, whose /proc shows its own pid namespace.

    Returns the ruleset's descriptor. Raises OSError.
    """
    kernel.unshare(kernel.NEW_MOUNT)
    root_directory.mount_own_processes()
    os.chdir(places.PROJECT)
    return _build_ruleset(place, places.WRITABLE_BY_PROJECTS)


def open_own_mounts(processes: int) -> int:
    """Descriptor of this process's mount namespace. processes: descriptor of a /proc that shows this process."""
    return os.open("self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=processes)


def _build_ruleset(place: Place, writable: tuple[str, ...]) -> int:
    trace = place.profile == "trace"
    return landlock.build_ruleset(
        place.landlock_abi,
        read=[*place.readable, "/dev/urandom", "/dev/random", *(["/proc", "/etc"] if trace else [])],
        list_only=place.list_only,
        write=[*writable, "/dev/null", "/dev/zero"],
        processes=trace,
    )
