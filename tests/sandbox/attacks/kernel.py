"""The kernel's own surface: sockets, namespaces, mounts and every system call that no program needs."""

from __future__ import annotations

import platform

from megatron_codex.sandbox.kernel import architecture
from megatron_codex.sandbox.seccomp import JUDGE_CALLS
from tests.sandbox.attacks.attack import Attack

_BY_ARGUMENTS = ("clone", "ioctl", "prctl", "prlimit64")
"""Calls that seccomp judges by their arguments: the other attacks try those."""

_NUMBERS = architecture().numbers
_ALLOWED = sorted(_NUMBERS[name] for name in (*JUDGE_CALLS, *_BY_ARGUMENTS) if name in _NUMBERS)

ATTACKS = {
    "every_other_system_call": Attack(
        source=f"""
ALLOWED = {_ALLOWED}
def f():
    # Refused by name (EPERM) or unknown here (ENOSYS): any other answer comes from the call itself. 335 and 336 are
    # x86-64's uretprobe and uprobe, which the kernel hides from seccomp and answers with SIGILL but for its own probes.
    opened = {{}}
    for number in sorted({{*range(600)}} - {{*ALLOWED, *((335, 336) if MACHINE == 'x86_64' else ())}}):
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
        if result != -1 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
            opened[number] = (result, errno.errorcode.get(ctypes.get_errno()))
    return repr(opened) if opened else 'held'
""",
    ),
    "sockets": Attack(
        source="""
import socket
def f():
    kinds = [(family, kind) for family in range(1, 46) for kind in
             (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)]
    return attempt(*(lambda pair=pair: socket.socket(*pair) for pair in kinds), socket.socketpair,
                   lambda: socket.create_connection(('127.0.0.1', 22), 1), lambda: socket.create_server(('', 0)))
""",
    ),
    "descriptors_over_the_channel": Attack(
        source="""
import socket
def f():
    # The channel is a socket: descriptors must neither go out nor come in by it, nor its other end be cut off.
    ways = []
    for descriptor in channels():
        end = socket.socket(socket.AF_UNIX, 1, 0, fileno=os.dup(descriptor))
        ways += [lambda: socket.send_fds(end, [b'x'], [0]), lambda: end.sendmsg([b'x']), lambda: end.send(b'x'),
                 lambda: end.recvmsg(1, 64, socket.MSG_DONTWAIT), lambda: end.shutdown(socket.SHUT_RDWR),
                 lambda: end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT), lambda: end.setsockopt(1, 20, b'1' * 16),
                 lambda: end.setsockopt(1, 7, 1), lambda: end.getsockopt(1, 17, 12), end.getpeername, end.accept,
                 lambda: end.bind(b'\\0x'), lambda: end.connect(b'\\0x')]
    return attempt(*ways) if ways else 'no channel was found'
""",
    ),
    "non_blocking_channel": Attack(
        source="""
def f():
    # A flag of the open file: the other end has its own, and the answer still comes.
    for descriptor in channels(): os.set_blocking(descriptor, False)
    return 'held'
""",
    ),
    "namespaces_and_mounts": Attack(
        source="""
def f():
    kinds = [0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000, 0x80]
    return attempt(*(lambda kind=kind: call(272, 97, kind) for kind in kinds),
                   *(lambda kind=kind: call(56, 220, kind | 17, 0, 0, 0, 0) for kind in kinds),
                   *(lambda kind=kind: call(56, 220, kind | 0x10F00, 0, 0, 0, 0) for kind in kinds[:-1]),
                   lambda: call(308, 268, 3, 0), lambda: call(165, 40, b'none', b'/tmp', b'tmpfs', 0, 0),
                   lambda: call(165, 40, b'/', b'/tmp', 0, 4096, 0), lambda: call(165, 40, 0, b'/', 0, 32, 0),
                   lambda: call(166, 39, b'/', 2), lambda: call(155, 41, b'.', b'.'), lambda: call(161, 51, b'/'),
                   lambda: call(428, 428, 0, b'/', 1), lambda: call(429, 429, -100, b'/', -100, b'/tmp', 0),
                   lambda: call(430, 430, b'tmpfs', 0), lambda: call(433, 433, -100, b'/', 0),
                   lambda: call(442, 442, -100, b'/', 0, 0, 0))
""",
    ),
    "kernel_surfaces": Attack(
        source="""
def f():
    # With arguments that the kernel would take: io_uring, keys, userfaultfd, bpf, perf, file handles, another filter,
    # personality, memfd, secret memory, LDT, ports, pkeys, timers, signalfd, mlock, log, quota, modules.
    buffer = ctypes.create_string_buffer(256)
    return attempt(lambda: call(425, 425, 1, buffer), lambda: call(250, 219, 0, -3, 1), lambda: call(248, 217, b'user',
                   b'x', b'y', 1, -2), lambda: call(249, 218, b'user', b'x', 0, -2), lambda: call(323, 282, 1),
                   lambda: call(321, 280, 0, buffer, 128), lambda: call(298, 241, buffer, 0, -1, -1, 0),
                   lambda: call(304, 265, 3, buffer, 0), lambda: call(303, 264, -100, b'/', buffer, buffer, 0),
                   lambda: call(157, 167, 22, 2, 0), lambda: call(317, 277, 1, 0, buffer), lambda: call(135, 92, 0),
                   lambda: call(319, 279, b'x', 0), lambda: call(447, 447, 0), lambda: call(154, 1000, 0, buffer, 16),
                   lambda: call(173, 1000, 0, 1, 1), lambda: call(172, 1000, 3), lambda: call(330, 289, 0, 0),
                   lambda: call(222, 107, 0, 0, buffer), lambda: call(283, 85, 1, 0),
                   lambda: call(289, 74, -1, buffer, 8, 0),
                   lambda: call(149, 228, buffer, 256), lambda: call(151, 230, 1),
                   lambda: call(103, 116, 3, buffer, 256),
                   lambda: call(443, 443, 3, 0, 0, 0), lambda: call(175, 105, buffer, 1, b''))
""",
    ),
    "system_v_ipc_and_clocks": Attack(
        source="""
import time
def f():
    buffer = ctypes.create_string_buffer(256)
    return attempt(lambda: call(29, 194, 0, 4096, 0o1600), lambda: call(68, 186, 0, 0o1600),
                   lambda: call(64, 190, 0, 1, 0o1600), lambda: call(240, 180, b'/q', 0o102, 0o600, 0),
                   lambda: time.clock_settime(time.CLOCK_REALTIME, 0), lambda: call(164, 170, buffer, 0),
                   lambda: call(159, 171, buffer), lambda: call(305, 266, 0, buffer), lambda: call(170, 161, b'x', 1))
""",
    ),
}

_MACHINE_CODE = """
import mmap
def run(*code):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes(code))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_long)(address)()
"""

ATTACKS_OF_X86_64 = {
    "32_bit_entry": Attack(
        # mov eax, 20 (getpid of i386); int 0x80; ret
        source=_MACHINE_CODE + "def f():\n    return run(0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3)\n",
        verdicts=("died",),
    ),
    "x32_entry": Attack(
        # mov eax, 0x40000000 + 39 (getpid); syscall; ret
        source=_MACHINE_CODE + "def f():\n    return run(0xB8, 39, 0, 0, 0x40, 0x0F, 0x05, 0xC3)\n",
        verdicts=("died",),
    ),
    "machine_code_of_its_own": Attack(
        # mov eax, 57 (fork); syscall; ret: the same filter holds for it.
        source=_MACHINE_CODE
        + "def f():\n    return 'held' if run(0xB8, 57, 0, 0, 0, 0x0F, 0x05, 0xC3) == -1 else 'forked'\n",
    ),
}
if platform.machine() == "x86_64":
    ATTACKS |= ATTACKS_OF_X86_64
