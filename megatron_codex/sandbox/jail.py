"""The jail: entered once by a worker process (namespaces, new root), then closed around each forked program.

In: a JailPlan. Out of enter_jail: a process that can still fork jailed programs, and holds no right over the machine.
Out of lock_down: a process that can only compute. Order matters throughout; each step says what it needs.
"""

from __future__ import annotations

import json
import math
import os
import resource
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NoReturn

from megatron_codex.sandbox import kernel, root_directory, seccomp
from megatron_codex.sandbox.cell import Place, open_own_mounts
from megatron_codex.sandbox.messages import KernelLimits

try:
    from megatron_codex.sandbox import _jail
except ImportError:  # not built here: rooms above are imported all the same, and probe.py refuses to isolate
    _jail = None  # type: ignore[assignment]

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
FIRST_DESCRIPTOR = 3
"""Of those that a program's process is given."""


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

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, message: bytes) -> JailPlan:
        return cls(**json.loads(message))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one program. cpu_s and wall_s are enforced by the worker; the kernel's own CPU limit is a backstop."""

    cpu_s: float
    wall_s: float
    """Of a program that sleeps; one that a busy machine lets wait has longest_s."""
    memory_bytes: int
    """Address space of a process."""
    file_bytes: int = 16 << 20
    """Largest file a program can write."""
    num_processes: int = 64
    """Processes and threads of the worker's user (of its user namespace, at level A)."""
    num_open_files: int = 64

    @property
    def longest_s(self) -> float:
        """Wall time after which a program has ended, whatever it does (csrc/sandbox/worker.c)."""
        return 10 * self.wall_s


@dataclass(frozen=True, kw_only=True)
class Jail:
    """What enter_jail leaves for lock_down: everything that is the same for each program."""

    plan: JailPlan
    place: Place
    system_calls: bytes
    """The seccomp filter."""
    own_pidfd: int


def enter_jail(plan: JailPlan) -> Jail:
    """Confine this single-threaded process. At level A it returns in a child that is pid 1 of a new pid namespace.

    Root becomes a spare user: limits on processes do not hold for root, and no file of the host is the spare user's.
    Before that it builds the new root directory (at level B too), since the interpreter may lie where only root can
    pass (a pyenv in a home of mode 700). Another user builds it inside the user namespace, and at level B has none.
    Raises: OSError naming the call that the kernel refused.
    """
    # The new root directory of a judge has no /proc; its programs' processes close this descriptor.
    processes = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    spare = spare_user()
    is_root = _has_capability(_CAP_SYS_ADMIN)
    if is_root:
        kernel.unshare(kernel.NEW_MOUNT)
        _enter_root(plan, owner=spare)
        # Level B's only chance: the spare user may not (in a new user namespace, level A's, the set is full again).
        kernel.drop_bounding_capabilities()
    if spare is not None:
        _become(spare)
    if plan.level == "A":
        _enter_namespaces(processes)
        kernel.die_with_parent()
        if not is_root:
            _enter_root(plan, owner=None)
        if plan.profile == "trace":
            root_directory.mount_own_processes()
        socket.sethostname("jail")
    kernel.drop_bounding_capabilities()
    kernel.forbid_new_privileges()
    if plan.profile == "judge":
        seccomp.install_filter(seccomp.worker_filter(kernel.architecture()))
    readable = root_directory.without_nested(_shown(plan))
    place = Place(
        profile=plan.profile,
        landlock_abi=plan.landlock_abi,
        readable=tuple(readable),
        list_only=tuple(plan.list_only),
        scratch=root_directory.scratch_directory(readable),
        processes=processes,
        mounts=open_own_mounts(processes) if plan.level == "A" else None,
    )
    return Jail(
        plan=plan,
        place=place,
        system_calls=seccomp.program_filter(plan.profile, kernel.architecture()),
        own_pidfd=os.pidfd_open(os.getpid()),
    )


def serve(
    jail: Jail,
    connection: int,
    driver: int,
    build_cell: Callable[[], tuple[int, int, int]],
    roles: dict[bytes, Callable[..., NoReturn]],
) -> None:
    """Fork a jailed child for each request, which becomes one of the roles, until the driver is gone (worker.c)."""
    _jail.serve(
        connection=connection,
        driver=driver,
        own_pidfd=jail.own_pidfd if jail.plan.level == "A" else -1,
        directory=jail.place.scratch,
        filter=jail.system_calls,
        build_cell=build_cell,
        roles=roles,
    )


def lock_down(jail: Jail, ruleset: int, limits: KernelLimits, *, descriptors: tuple[int, ...], output: int) -> None:
    """Close the jail around this process. descriptors become 3, 4, ..., output 1 and 2; all others but 0 are closed.

    Raises: OSError at the first step refused.
    """
    allowed = tuple((kind, _at_most(value, resource.getrlimit(kind)[1])) for kind, value in limits)
    _jail.lock_down(output=output, descriptors=descriptors, limits=allowed, ruleset=ruleset, filter=jail.system_calls)


def kernel_limits(level: Level, limits: Limits) -> KernelLimits:
    """What the kernel itself is to enforce; CPU time as a backstop of the worker's own limit."""
    values = {
        # Not 0, which a core_pattern that is a pipe ignores: of 1 the kernel makes no dump of either kind.
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: math.ceil(limits.cpu_s) + 1,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.num_open_files,
        resource.RLIMIT_STACK: _STACK_BYTES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    if level == "A":
        # Counted over the user namespace. At level B it would count every process of the user on this host; there a
        # program can make threads only, and the address space holds few of them.
        values[resource.RLIMIT_NPROC] = limits.num_processes
    return tuple(values.items())


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


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    kernel.set_dumpable()


def _enter_namespaces(processes: int) -> None:
    """New namespaces of every kind, one user mapped, and the fork that makes the pid namespace ours."""
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(_ALL_NAMESPACES)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{_INNER_ID} {uid} 1"), ("gid_map", f"{_INNER_ID} {gid} 1")):
        descriptor = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=processes)
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


def _at_most(value: int, highest: int) -> int:
    return value if highest == resource.RLIM_INFINITY else min(value, highest)
