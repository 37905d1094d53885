"""The file system a jailed process sees: a small tmpfs with the interpreter bound read-only, and nothing of the host's.

In: host directories to show (at their own paths), for a project run also the project to copy. Out: this process's mount
namespace has that root and no other mount; the old root is detached.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from megatron_codex.sandbox import kernel
from megatron_codex.sandbox.places import SCRATCH, SCRATCH_BYTES, SCRATCH_FILES

_OTHER_SCRATCH = "/scratch"
_ROOT_BYTES, _ROOT_FILES = 1 << 20, 4096

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def interpreter_paths(*, with_programs: bool) -> list[str]:
    """Host paths that this interpreter needs to go on importing its standard library (or, with_programs, to be run)."""
    if with_programs:
        # Debian's /usr/bin/cc, awk and others are links into /etc/alternatives, and from there back into /usr.
        paths = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", sys.base_prefix]
    else:
        # The directory above the standard library holds libpython and, in conda, the libraries of its C modules.
        library = str(Path(os.__file__).resolve().parent.parent)
        paths = ["/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/usr/share/zoneinfo", library]
    return [path for path in paths if Path(path).is_dir()]


def without_nested(paths: Iterable[str]) -> list[str]:
    """Real paths, sorted, without those that lie inside another."""
    kept: list[str] = []
    for path in sorted({str(Path(path).resolve()) for path in paths}):
        if not any(path == outer or path.startswith(outer + "/") for outer in kept):
            kept.append(path)
    return kept


def enter_root_directory(read_only: Iterable[str], *, project: str | None = None, owner: int | None = None) -> None:
    """Build the new root and pivot to it. Needs a mount namespace of its own and CAP_SYS_ADMIN in it.

    project: directory to copy, writable, to /project; /output, /tmp and /proc are then made too. owner: uid and gid
    that the copied files shall have, where this process is root.
    """
    if project is not None:
        # Not for a judge's worker, whose forks each module makes dearer; and before the stage hides the module's file.
        from megatron_codex.sandbox import project_files
    named = list(read_only)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    # Opened before the stage hides what lies below it; a path through /proc/self/fd needs no right on its parents.
    sources = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in without_nested(named)}
    devices = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in DEVICES}
    copied = os.open(project, os.O_PATH | os.O_CLOEXEC) if project is not None else None
    stage = next(path for path in ("/tmp", "/mnt", "/usr") if Path(path).is_dir())
    kernel.mount_tmpfs(stage, size_bytes=_ROOT_BYTES, num_files=_ROOT_FILES, mode="755", executable=True)
    for path in (SCRATCH, _OTHER_SCRATCH):
        Path(stage + path).mkdir()
    if copied is not None:
        project_files.add_project(stage, f"/proc/self/fd/{copied}", owner)
    for path, descriptor in devices.items():
        _bind(descriptor, stage + path)
    for path, descriptor in sources.items():
        _bind(descriptor, stage + path)
        kernel.set_mount_attributes(
            stage + path, kernel.MOUNT_READ_ONLY | kernel.MOUNT_NOSUID | kernel.MOUNT_NODEV, recursive=True
        )
    _add_symlinks(stage, named)
    for descriptor in (*sources.values(), *devices.values()):
        os.close(descriptor)
    kernel.pivot_root_to(stage)
    kernel.set_mount_attributes("/", kernel.MOUNT_READ_ONLY | kernel.MOUNT_NOSUID, recursive=False)


def scratch_directory(shown: Iterable[str]) -> str:
    """/tmp, unless it holds something to show (an interpreter, a package), which a mount on it would hide."""
    return _OTHER_SCRATCH if any(path.startswith(SCRATCH + "/") for path in shown) else SCRATCH


def mount_scratch(path: str) -> None:
    """A small private tmpfs for the files of one program."""
    kernel.mount_tmpfs(path, size_bytes=SCRATCH_BYTES, num_files=SCRATCH_FILES, mode="700")


def mount_own_processes() -> None:
    """A /proc that shows this pid namespace and nothing outside it (over whatever was there)."""
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def _bind(descriptor: int, target: str) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    kernel.mount(f"/proc/self/fd/{descriptor}", target, "", kernel.MS_BIND | kernel.MS_REC)


def _add_symlinks(stage: str, named: Iterable[str]) -> None:
    """Where a path to show is a symlink on the host (/lib -> usr/lib), make it one here."""
    for path in named:
        real = str(Path(path).resolve())
        link = Path(stage + path)
        if real != path and not link.exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real)
