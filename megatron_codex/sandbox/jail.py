"""The jail: entered once by a worker process (namespaces, new root), then closed around each forked program.

In: a JailPlan. Out of enter_jail: a process that can still fork jailed programs, and holds no right over the machine.
Out of lock_down: a process that can only compute. Order matters throughout; each step says what it needs.
"""

from __future__ import annotations

import fcntl
import math
import os
import resource
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.sandbox import kernel, landlock, root_directory, seccomp

Level = Literal["A", "B"]

_ALL_NAMESPACES = (
    kernel.NEW_USER
    | kernel.NEW_MOUNT
    | kernel.NEW_PID
    | kernel.NEW_NET
    | kernel.NEW_IPC
    | kernel.NEW_UTS
    | kernel.NEW_CGROUP
)
_INNER_ID = 1000
_SPARE_IDS = 0x70000000
"""Spare users are numbered from here where the host has the whole range: no real account lies there."""
_CAP_SYS_ADMIN = 21
_STACK_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class JailPlan:
    """What one worker process confines itself to."""

    level: Level
    """A: namespaces, Landlock, seccomp, rlimits. B: the same without namespaces."""
    profile: seccomp.ProfileName
    landlock_abi: int
    read_only: tuple[str, ...] = ()
    """Host paths shown besides the interpreter's own, at the same place."""
    list_only: tuple[str, ...] = ()
    """Directories whose names (not files) may be read, so that the packages of read_only are found in them."""
    project: str | None = None
    """Trace profile: directory copied to /project."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one program. cpu_s and wall_s are enforced by the zygote; the kernel's own CPU limit is a backstop."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    """Address space of a process."""
    file_bytes: int = 16 << 20
    """Largest file a program can write."""
    num_processes: int = 64
    """Processes and threads of the worker's user (of its user namespace, at level A)."""
    num_open_files: int = 64


@dataclass(frozen=True, kw_only=True)
class Jail:
    """What enter_jail leaves for lock_down: everything that is the same for each program."""

    plan: JailPlan
    readable: tuple[str, ...]
    scratch: str
    """Where a program finds its private tmpfs (level A)."""
    system_calls: bytes
    """The seccomp filter."""


def enter_jail(plan: JailPlan) -> Jail:
    """Confine this single-threaded process. At level A it returns in a child that is pid 1 of a new pid namespace.

    Root becomes a spare user: limits on processes do not hold for root, and no file of the host is the spare user's.
    Before that it builds the new root directory (at level B too), since the interpreter may lie where only root can
    pass (a pyenv in a home of mode 700). Another user builds it inside the user namespace, and at level B has none.
    Raises: OSError naming the call that the kernel refused.
    """
    own_proc = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    spare = spare_user()
    is_root = _has_capability(_CAP_SYS_ADMIN)
    if is_root:
        kernel.unshare(kernel.NEW_MOUNT)
        _enter_root(plan, owner=spare)
    if spare is not None:
        _become(spare)
    if plan.level == "A":
        _enter_namespaces(own_proc)
        kernel.die_with_parent()
        if not is_root:
            _enter_root(plan, owner=None)
        if plan.profile == "trace":
            root_directory.mount_own_processes()
        socket.sethostname("jail")
    os.close(own_proc)
    kernel.drop_bounding_capabilities()
    readable = root_directory.without_nested(_shown(plan))
    return Jail(
        plan=plan,
        readable=tuple(readable),
        scratch=root_directory.scratch_directory(readable),
        system_calls=seccomp.filter_for_this_machine(plan.profile),
    )


def unshare_pid_namespace(own_pidfd: int) -> None:
    """Make the next fork the first process of a new pid namespace.

    setns back to our own first: a second unshare is refused while the first is pending.
    """
    kernel.enter_namespaces(own_pidfd, kernel.NEW_PID)
    kernel.unshare(kernel.NEW_PID)


def lock_down(jail: Jail, limits: Limits, *, descriptors: list[int], stdout: int | None) -> None:
    """Close the jail around this freshly forked process. `descriptors` become 3, 4, ...; all others are closed.

    stdout: descriptor for 1 and 2 (None: /dev/null). 0 is empty. Raises OSError at the first step refused.
    """
    kernel.die_with_parent()
    writable = _enter_own_mounts(jail)
    # After the mounts: Landlock's rules name inodes, and the fresh tmpfs has a new one.
    ruleset = _build_ruleset(jail, writable)
    ruleset = _arrange(descriptors, stdout, ruleset)
    _set_limits(jail.plan, limits)
    kernel.drop_capabilities()
    if jail.plan.profile == "judge":
        kernel.forbid_core_dumps()
    kernel.forbid_new_privileges()
    landlock.restrict_self(ruleset)
    os.close(ruleset)
    seccomp.install_filter(jail.system_calls)


def spare_user() -> int | None:
    """A uid and gid that belongs to no account, or None when this process is not root or has no other id."""
    if os.geteuid() != 0:
        return None
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    first, _, count = max(ranges, key=lambda row: row[2])
    if first + count > _SPARE_IDS + (1 << 22):
        return _SPARE_IDS + os.getpid()
    return first + count - 1 - os.getpid() % (count // 2) if count > 1 else None


def _shown(plan: JailPlan) -> list[str]:
    return [*root_directory.interpreter_paths(with_programs=plan.profile == "trace"), *plan.read_only]


def _enter_root(plan: JailPlan, *, owner: int | None) -> None:
    root_directory.enter_root_directory(_shown(plan), project=plan.project, owner=owner)


def _enter_own_mounts(jail: Jail) -> list[str]:
    """Mounts of this program alone (level A); returns the directories it may write to."""
    if jail.plan.level == "B":
        os.chdir("/")
        return []
    kernel.unshare(kernel.NEW_MOUNT)
    if jail.plan.profile == "trace":
        root_directory.mount_own_processes()
        os.chdir(root_directory.PROJECT)
        return [*root_directory.WRITABLE_BY_PROJECTS]
    root_directory.mount_scratch(jail.scratch)
    os.chdir(jail.scratch)
    return [jail.scratch]


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.set_dumpable()


def _enter_namespaces(own_proc: int) -> None:
    """New namespaces of every kind, one user mapped, and the fork that makes the pid namespace ours."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(_ALL_NAMESPACES)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{_INNER_ID} {uid} 1"), ("gid_map", f"{_INNER_ID} {gid} 1")):
        # Relative to our own /proc directory: the new root, which root enters first, has no /proc.
        descriptor = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=own_proc)
        os.write(descriptor, text.encode())
        os.close(descriptor)
    child = os.fork()
    if child:
        kernel.close_descriptors_from(0)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> number & 1)


def _build_ruleset(jail: Jail, writable: list[str]) -> int:
    trace = jail.plan.profile == "trace"
    return landlock.build_ruleset(
        jail.plan.landlock_abi,
        read=[*jail.readable, "/dev/urandom", "/dev/random", *(["/proc", "/etc"] if trace else [])],
        list_only=jail.plan.list_only,
        write=[*writable, "/dev/null", "/dev/zero"],
        processes=trace,
    )


def _arrange(descriptors: list[int], stdout: int | None, ruleset: int) -> int:
    """Put descriptors at 3, 4, ..., the ruleset after them, nothing else; returns the ruleset's new number."""
    wanted = [*descriptors, ruleset]
    above = 3 + len(wanted)
    null = os.open("/dev/null", os.O_RDWR)
    sources = [fcntl.fcntl(each, fcntl.F_DUPFD, above) for each in wanted]
    output = fcntl.fcntl(stdout if stdout is not None else null, fcntl.F_DUPFD, above)
    empty = fcntl.fcntl(null, fcntl.F_DUPFD, above)
    os.dup2(empty, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number, source in enumerate(sources, 3):
        os.dup2(source, number, inheritable=False)
    kernel.close_descriptors_from(above)
    return above - 1


def _set_limits(plan: JailPlan, limits: Limits) -> None:
    cpu_s = math.ceil(limits.cpu_s) + 1
    values = {
        # Not 0, which a core_pattern that is a pipe ignores: of 1 the kernel makes no dump of either kind.
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.num_open_files,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if plan.level == "A":
        # Counted over the user namespace. At level B it would count every process of the user on this host; there a
        # program can make threads only, and the address space holds few of them.
        values[resource.RLIMIT_NPROC] = limits.num_processes
    for kind, value in values.items():
        _, hard = resource.getrlimit(kind)
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
