"""Which system calls a jailed process may make: allow-lists, compiled to seccomp filters.

In: a profile's name, the machine's system call table. Out: BPF that allows what is listed, answers EPERM to all else,
and kills a process that calls through another architecture's entry. What is not listed is denied: no socket, mount,
namespace, ptrace, process_vm_*, io_uring, keyctl, bpf, perf, userfaultfd, clock setting, SysV IPC or limit change.

A judge's worker binds itself to an allow-list of what it and its programs need, which each fork inherits; a program's
process adds a short filter that takes away what only the worker needs (the kernel obeys the stricter answer). It
compiles a filter when it is installed: the whole list would cost as much as the fork. A traced project's process, one
for each worker, installs a whole list of its own.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Literal

from megatron_codex.sandbox.kernel import system_call
from megatron_codex.sandbox.syscall_numbers import Architecture

ProfileName = Literal["judge", "trace"]

JUDGE_CALLS = """
    mmap mprotect munmap mremap madvise brk
    read write readv writev pread64 pwrite64 lseek open openat close close_range stat lstat fstat newfstatat statx
    access faccessat faccessat2 getdents getdents64 getcwd chdir readlink readlinkat mkdir mkdirat rmdir unlink unlinkat
    rename renameat renameat2 truncate ftruncate fsync fdatasync dup dup2 dup3 fcntl umask pipe pipe2
    fadvise64 select pselect6 poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2
    nanosleep clock_nanosleep sched_yield futex restart_syscall
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack tgkill
    setitimer getitimer alarm pause
    getpid gettid getppid getpgrp getuid geteuid getgid getegid uname sysinfo times getrusage getrlimit
    sched_getaffinity getrandom clock_gettime clock_getres gettimeofday time
    exit exit_group arch_prctl set_tid_address set_robust_list rseq
""".split()  # noqa: SIM905 - a list of words
"""One Python program on plain data: memory, its own files and signals, threads. tgkill (abort, raise) cannot leave the
pid namespace, nor, without one, the Landlock domain's signal scope."""

TRACE_CALLS = """
    execve fork vfork wait4 waitid kill tkill pidfd_open pidfd_send_signal setpgid setsid getpgid getsid
    getresuid getresgid getgroups sched_setaffinity sched_getparam sched_getscheduler sched_get_priority_max
    sched_get_priority_min getpriority setpriority
    chmod fchmod fchmodat link linkat symlink symlinkat mknod mknodat chown fchown lchown fchownat flock fallocate
    copy_file_range sendfile splice tee statfs fstatfs fchdir creat utime utimes utimensat futimesat preadv pwritev
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr sync_file_range msync mincore
    inotify_init1 inotify_add_watch inotify_rm_watch eventfd epoll_create epoll_pwait2
    timerfd_create timerfd_settime timerfd_gettime signalfd4 membarrier
    sendto recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt setsockopt
""".split()  # noqa: SIM905 - a list of words
"""A project's test suite besides: processes, files of every kind, what a socketpair needs (no other socket exists)."""

WORKER_CALLS = """
    fork wait4 waitid unshare setns mount capset seccomp landlock_create_ruleset landlock_add_rule
    landlock_restrict_self pidfd_open pidfd_send_signal sendto sendmsg recvfrom recvmsg statfs fstatfs
    getsockname getsockopt setrlimit
""".split()  # noqa: SIM905 - a list of words
"""What a judge's worker needs besides, to make, close and end its programs' jails; denied to the programs."""

# <linux/filter.h>, <linux/seccomp.h>
_LOAD, _IF_EQUAL, _IF_GREATER_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_DENY = _ERRNO | errno.EPERM
_NUMBER_OFFSET, _ARCH_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32_BIT = 0x40000000
_SET_MODE_FILTER = 1

_CLONE_ANY_NAMESPACE = 0x7E020000
_CLONE_THREAD = 0x00010000
_AF_UNIX = 1
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX
_PRCTLS = (3, 15, 16, 23, 0x53564D41)  # GET_DUMPABLE SET_NAME GET_NAME CAPBSET_READ SET_VMA
_SET_PDEATHSIG = 1  # not for a judged program: it could outlive its worker

Instruction = tuple[int, int, int, int]


def worker_filter(machine: Architecture) -> bytes:
    """Of a judge's worker, inherited by its programs. Instructions of 8 bytes each (struct sock_filter)."""
    return _compile(_allow_list(_COMMON_CHECKS | {"clone": _clone(threads_only=False)}, _WORKER_LIST, machine))


def program_filter(profile: ProfileName, machine: Architecture) -> bytes:
    """Of the program's process. judge: to be added to the worker's, of no use alone."""
    if profile == "trace":
        return _compile(_allow_list(_COMMON_CHECKS | _TRACE_CHECKS, JUDGE_CALLS + TRACE_CALLS, machine))
    # The worker's filter has looked at the architecture already.
    taken = [_load(_NUMBER_OFFSET)]
    for name, body in _JUDGE_CHECKS.items():
        taken += _if_call(name, body, machine)
    for name in WORKER_CALLS:
        taken += _if_call(name, [_answer(_DENY)], machine)
    return _compile([*taken, _answer(_ALLOW)])


def install_filter(program: bytes) -> None:
    """Bind this (single-threaded) process and its children to the filter, for good. Needs no_new_privs."""
    instructions = ctypes.create_string_buffer(program, len(program))
    header = _FilterHeader(len(program) // 8, ctypes.addressof(instructions))
    system_call("seccomp", _SET_MODE_FILTER, 0, ctypes.byref(header))


class _FilterHeader(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _allow_list(checks: dict[str, list[Instruction]], names: list[str], machine: Architecture) -> list[Instruction]:
    """checks: calls whose arguments decide; each body loads what it needs and always answers."""
    program: list[Instruction] = [
        _load(_ARCH_OFFSET),
        (_IF_EQUAL, 1, 0, machine.audit),
        _answer(_KILL_PROCESS),
        _load(_NUMBER_OFFSET),
        (_IF_GREATER_EQUAL, 0, 1, _X32_BIT),
        _answer(_KILL_PROCESS),
    ]
    for name, body in checks.items():
        program += _if_call(name, body, machine)
    for name in names:
        program += _if_call(name, [_answer(_ALLOW)], machine)
    return [*program, _answer(_DENY)]


def _if_call(name: str, body: list[Instruction], machine: Architecture) -> list[Instruction]:
    """Nothing for a call that this architecture does not have."""
    number = machine.numbers.get(name)
    return [] if number is None else [(_IF_EQUAL, 0, len(body), number), *body]


def _compile(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("<HBBI", code, jt, jf, value) for code, jt, jf, value in program)


def _clone(*, threads_only: bool) -> list[Instruction]:
    body = [_load_argument(0), (_IF_ANY_BIT, 2, 0, _CLONE_ANY_NAMESPACE)]
    # Where processes may be made, any other flags do: the test below always holds.
    body.append((_IF_ANY_BIT, 0, 1, _CLONE_THREAD) if threads_only else (_IF_GREATER_EQUAL, 0, 1, 0))
    return [*body, _answer(_ALLOW), _answer(_DENY)]


def _allow_values(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    body = [_load_argument(argument)]
    for value in values:
        body += [(_IF_EQUAL, 0, 1, value), _answer(_ALLOW)]
    return [*body, _answer(_DENY)]


def _read_own_limits() -> list[Instruction]:
    """prlimit64(0, resource, NULL, old): pid and both halves of the new limit's pointer are zero."""
    return [
        _load_argument(0),
        (_IF_EQUAL, 0, 5, 0),
        _load_argument(2),
        (_IF_EQUAL, 0, 3, 0),
        _load_argument(2, high=True),
        (_IF_EQUAL, 0, 1, 0),
        _answer(_ALLOW),
        _answer(_DENY),
    ]


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _load_argument(index: int, *, high: bool = False) -> Instruction:
    return _load(_ARGUMENTS_OFFSET + 8 * index + (4 if high else 0))


def _answer(action: int) -> Instruction:
    return (_RETURN, 0, 0, action)


_COMMON_CHECKS = {
    # Their flags lie in memory, out of a filter's sight; glibc falls back to clone and openat.
    "clone3": [_answer(_ERRNO | errno.ENOSYS)],
    "openat2": [_answer(_ERRNO | errno.ENOSYS)],
    "ioctl": _allow_values(1, _IOCTLS),
}
_JUDGE_CHECKS = {
    "clone": _clone(threads_only=True),
    "prlimit64": _read_own_limits(),
    "prctl": _allow_values(0, _PRCTLS),
}
_TRACE_CHECKS = {
    "clone": _clone(threads_only=False),
    "prlimit64": _read_own_limits(),
    "prctl": _allow_values(0, (*_PRCTLS, _SET_PDEATHSIG)),
    "socketpair": _allow_values(0, (_AF_UNIX,)),
}
_WORKER_LIST = [*JUDGE_CALLS, *WORKER_CALLS, "prctl", "prlimit64"]
