"""The Linux system calls of the sandbox that Python 3.11 does not offer, by ctypes; each raises OSError by name.

Security-critical: this file, seccomp.py, landlock.py, root_directory.py, cell.py, jail.py, zygote.py and csrc/sandbox
are all that stands between an untrusted program and the machine. They import nothing but the standard library and each
other.
"""

from __future__ import annotations

import ctypes
import os
import time

from megatron_codex.sandbox.syscall_numbers import ARCHITECTURES, Architecture

# <linux/sched.h>: kinds of namespaces.
NEW_MOUNT = 0x00020000
NEW_CGROUP = 0x02000000
NEW_UTS = 0x04000000
NEW_IPC = 0x08000000
NEW_USER = 0x10000000
NEW_PID = 0x20000000
NEW_NET = 0x40000000

# <linux/mount.h>: flags of mount(2), then attributes of mount_setattr(2).
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_NOATIME = 1024
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MOUNT_READ_ONLY = 1
MOUNT_NOSUID = 2
MOUNT_NODEV = 4
_AT_RECURSIVE = 0x8000
_AT_FDCWD = -100
_MNT_DETACH = 2

# <linux/prctl.h>
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38

_NUM_CAPABILITIES = 64
_MAX_DESCRIPTOR = 0xFFFFFFFF

_libc = ctypes.CDLL(None, use_errno=True)


def architecture() -> Architecture:
    """This machine's system call table. Raises OSError, by name, for an architecture without one."""
    machine = os.uname().machine
    found = ARCHITECTURES.get(machine)
    if found is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(f"the sandbox has no system call table for {machine} ({', '.join(ARCHITECTURES)} only)")
    return found


def system_call(name: str, *arguments: object) -> int:
    """Call by name; integers are passed as 64-bit words. Raises OSError."""
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_libc.syscall(ctypes.c_long(architecture().numbers[name]), *words), name)


def unshare(namespaces: int) -> None:
    _checked(_libc.unshare(namespaces), "unshare")


def enter_namespaces(descriptor: int, namespaces: int) -> None:
    """descriptor: of a namespace, or a pidfd, whose process's namespaces of these kinds are entered."""
    _checked(_libc.setns(descriptor, namespaces), "setns")


def unshare_next_pid_namespace(own_pidfd: int) -> None:
    """Make the next fork the first process of a new pid namespace.

    setns back to our own first: a second unshare is refused while the first is pending.
    """
    enter_namespaces(own_pidfd, NEW_PID)
    unshare(NEW_PID)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _checked(result, f"mount {kind or 'bind'} on {target}")


def mount_tmpfs(target: str, *, size_bytes: int, num_files: int, mode: str = "1777", executable: bool = False) -> None:
    # No access times: on the judge's scratch, reading a directory would leave a trace for the next program.
    flags = MS_NOSUID | MS_NODEV | MS_NOATIME | (0 if executable else MS_NOEXEC)
    mount("tmpfs", target, "tmpfs", flags, f"size={size_bytes},nr_inodes={num_files},mode={mode}")


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def set_mount_attributes(target: str, attributes: int, *, recursive: bool) -> None:
    """Add attributes to the mount at `target`; recursive: to every mount below it too (a bind remount cannot)."""
    wanted = _MountAttributes(attr_set=attributes)
    flags = _AT_RECURSIVE if recursive else 0
    path = ctypes.c_char_p(target.encode())
    system_call("mount_setattr", _AT_FDCWD, path, flags, ctypes.byref(wanted), ctypes.sizeof(wanted))


def pivot_root_to(directory: str) -> None:
    """Make the mount at `directory` the root of this mount namespace and detach the old root from it."""
    os.chdir(directory)
    # pivot_root(".", ".") puts the old root on top of the new one, so no directory is needed to hold it: pivot_root(2).
    system_call("pivot_root", ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    _checked(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def cpu_seconds(pid: int) -> float:
    """CPU time of another process, by the clock that clock_getcpuclockid(3) would name; 0.0 once it has ended."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def close_descriptors_from(first: int) -> None:
    """Close every descriptor >= first. os.closerange would stop at the limit of the moment, not at the highest open."""
    system_call("close_range", first, _MAX_DESCRIPTOR, 0)


def die_with_parent() -> None:
    """SIGKILL for this process when the thread that forked it ends."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def set_dumpable() -> None:
    """Own /proc/self again: after a change of uid its files, uid_map among them, belong to root."""
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def forbid_new_privileges() -> None:
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def drop_bounding_capabilities() -> None:
    """Empty the bounding set: no later execve can gain a capability. Numbers this kernel lacks answer EINVAL."""
    for capability in range(_NUM_CAPABILITIES):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
