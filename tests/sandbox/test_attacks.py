"""Programs that want at the machine: each is one attack, tried from inside the jail at both levels.

An attack's f() returns "held" when every way it knows is barred, anything else when one is open.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from megatron_codex.records import Verdict
from megatron_codex.sandbox.program import Program

JudgeOne = Callable[[Program], Verdict]

TRY = """
import os, sys, ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
MACHINE = os.uname().machine

def attempt(*ways):
    for number, way in enumerate(ways):
        try:
            got = way()
        except OSError:
            continue
        return f"way {number} is open: {got!r:.200}"
    return "held"

def call(number_x86_64, number_aarch64, *arguments):
    number = number_x86_64 if MACHINE == "x86_64" else number_aarch64
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result
"""

ATTACKS = {
    "read_host_files": """
def f():
    paths = ['/etc/passwd', '/etc/shadow', '/etc/hostname', '/root/.bashrc', '/proc/version', '/proc/self/environ',
             '/proc/1/environ', '/proc/self/maps', '/sys/kernel/osrelease', '/dev/mem', '/dev/kmsg', '/etc/hosts']
    return attempt(*(lambda path=path: open(path, 'rb').read(10) for path in paths))
""",
    "list_host_directories": """
def f():
    paths = ['/', '/root', '/home', '/etc', '/proc', '/tmp/..', '/usr', '/var', '/dev', '/sys', '/opt']
    return attempt(*(lambda path=path: os.listdir(path) for path in paths))
""",
    "read_the_tests_of_the_repository": """
def f():
    return attempt(lambda: open(REPOSITORY + '/pyproject.toml').read(), lambda: os.listdir(REPOSITORY),
                   lambda: open(REPOSITORY + '/megatron_codex/sandbox/judge.py').read())
""",
    "write_host_files": """
def f():
    paths = ['/x', '/etc/x', '/usr/lib/x', '/root/x', '/var/tmp/x', '/dev/shm/x', '/home/x', sys.prefix + '/lib/x']
    return attempt(*(lambda path=path: open(path, 'w') for path in paths),
                   lambda: os.remove(os.__file__), lambda: open(os.__file__, 'a'), lambda: os.mkdir('/usr/lib/x'))
""",
    "escape_by_path": """
def f():
    return attempt(lambda: os.chroot('/'), lambda: os.chroot('.'), lambda: os.fchdir(3),
                   lambda: open('../../../../etc/passwd'), lambda: os.symlink('/etc/passwd', 'l') or open('l'),
                   lambda: os.link(os.__file__, 'h'), lambda: os.mknod('d', 0o60600, 0x100))
""",
    "sockets": """
import socket
def f():
    kinds = [(family, kind) for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK,
             socket.AF_PACKET, 38, 40) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)]
    return attempt(*(lambda pair=pair: socket.socket(*pair) for pair in kinds), socket.socketpair)
""",
    "make_processes": """
import subprocess, multiprocessing
def f():
    return attempt(os.fork, lambda: os.posix_spawn('/bin/true', ['true'], {}), lambda: subprocess.run(['/bin/true']),
                   lambda: os.execv('/bin/true', ['true']), lambda: call(435, 435, 0, 0),
                   lambda: call(56, 220, 17, 0, 0, 0, 0), lambda: call(58, 1000, 0), os.forkpty)
""",
    "namespaces_and_mounts": """
def f():
    kinds = [0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x04000000, 0x02000000, 0x80]
    return attempt(*(lambda kind=kind: call(272, 97, kind) for kind in kinds),
                   *(lambda kind=kind: call(56, 220, kind | 17, 0, 0, 0, 0) for kind in kinds),
                   lambda: call(308, 268, 3, 0), lambda: call(165, 40, b'none', b'/tmp', b'tmpfs', 0, 0),
                   lambda: call(166, 39, b'/', 2), lambda: call(155, 41, b'.', b'.'),
                   lambda: call(428, 428, 0, b'/', 1),
                   lambda: call(430, 430, b'tmpfs', 0), lambda: call(442, 442, -100, b'/', 0, 0, 0))
""",
    "other_processes": """
def f():
    others = [1, 2, os.getppid(), os.getpid() - 1, os.getpid() + 1, PARENT]
    size = ctypes.create_string_buffer(64)
    return attempt(*(lambda pid=pid: os.kill(pid, 0) for pid in others),
                   *(lambda pid=pid: call(101, 117, 16, pid, 0, 0) for pid in others),
                   *(lambda pid=pid: call(310, 270, pid, size, 1, size, 1, 0) for pid in others),
                   *(lambda pid=pid: call(434, 434, pid, 0) for pid in others),
                   lambda: os.kill(-1, 0), lambda: call(438, 438, 3, 3, 0), lambda: call(312, 272, 1, 1, 0, 0, 0))
""",
    "signal_threads_of_others": """
def f():
    # tgkill is allowed, for abort(); it must not reach out of the namespace or the Landlock domain.
    others = [pid for pid in (PARENT, PARENT + 1, os.getppid()) if pid not in (0, os.getpid())]
    return attempt(*(lambda pid=pid: call(234, 131, pid, pid, 0) for pid in others))
""",
    "kernel_surfaces": """
def f():
    buffer = ctypes.create_string_buffer(256)
    return attempt(lambda: call(425, 425, 1, buffer), lambda: call(250, 219, 0, -3, 1), lambda: call(248, 217, b'user',
                   b'x', b'y', 1, -2), lambda: call(323, 282, 1), lambda: call(321, 280, 0, buffer, 128),
                   lambda: call(298, 241, buffer, 0, -1, -1, 0), lambda: call(304, 265, 3, buffer, 0),
                   lambda: call(303, 264, -100, b'/', buffer, buffer, 0), lambda: call(157, 167, 22, 2, 0),
                   lambda: call(317, 277, 1, 0, buffer), lambda: call(135, 92, 0), lambda: call(319, 279, b'x', 0),
                   lambda: call(154, 1000, 0, buffer, 16), lambda: call(173, 1000, 0, 1, 1))
""",
    "system_v_ipc_and_clocks": """
import time
def f():
    buffer = ctypes.create_string_buffer(64)
    return attempt(lambda: call(29, 194, 0, 4096, 0o1600), lambda: call(68, 186, 0, 0o1600),
                   lambda: call(64, 190, 0, 1, 0o1600), lambda: call(240, 180, b'/q', 0o102, 0o600, 0),
                   lambda: time.clock_settime(time.CLOCK_REALTIME, 0), lambda: call(164, 170, buffer, 0),
                   lambda: call(159, 171, buffer))
""",
    "raise_its_limits": """
import resource
def f():
    kinds = ('AS', 'CPU', 'NPROC', 'FSIZE', 'NOFILE', 'CORE', 'STACK')
    def lift(kind):
        number = getattr(resource, 'RLIMIT_' + kind)
        try:
            resource.setrlimit(number, resource.getrlimit(number))
        except ValueError as error:
            raise OSError(str(error))
    return attempt(*(lambda kind=kind: lift(kind) for kind in kinds), lambda: os.nice(-1), lambda: os.nice(1),
                   lambda: os.sched_setaffinity(0, {0}), lambda: resource.prlimit(PARENT, resource.RLIMIT_CPU))
""",
    "regain_privileges": """
def f():
    return attempt(lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setresuid(0, 0, 0),
                   lambda: os.setgroups([0]), lambda: call(126, 91, ctypes.create_string_buffer(8),
                   ctypes.create_string_buffer(24)), lambda: call(157, 167, 4, 1), lambda: call(157, 167, 1, 0))
""",
    "descriptors_of_the_driver": """
import fcntl, stat
def f():
    # 0, 1, 2 are /dev/null, and one socket carries calls and answers: nothing else may be open.
    kinds = {}
    for descriptor in range(1024):
        try: kinds[descriptor] = stat.S_IFMT(os.fstat(descriptor).st_mode)
        except OSError: pass
    sockets = [d for d, kind in kinds.items() if kind == stat.S_IFSOCK]
    files = [d for d, kind in kinds.items() if kind not in (stat.S_IFSOCK, stat.S_IFCHR)]
    return 'held' if len(sockets) == 1 and not files and set(kinds) - set(sockets) == {0, 1, 2} else repr(kinds)
""",
    "environment_and_arguments": """
def f():
    known = {'LC_CTYPE'}
    leaked = set(os.environ) - known
    return 'held' if not leaked and not any(name in repr(sys.orig_argv) for name in ('pytest',)) else repr(leaked)
""",
    "real_root": """
def f():
    return 'held' if 0 not in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) else repr(os.getuid())
""",
}


def _judge(attack: str, judge_one: JudgeOne, *, before: str = "") -> Verdict:
    source = TRY + before + attack
    return judge_one(
        Program(source=source, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": "held"},))
    )


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_held(name: str, judge_one: JudgeOne) -> None:
    repository = Path(__file__).resolve().parents[2]
    before = f"PARENT = {os.getpid()}\nREPOSITORY = {str(repository)!r}\n"
    verdict = _judge(ATTACKS[name], judge_one, before=before)
    assert verdict.verdict == "passed", verdict


def test_attempts_would_be_noticed(judge_one: JudgeOne) -> None:
    """An attack that does come through is reported: the tests above can fail."""
    verdict = _judge("def f():\n    return attempt(lambda: open(os.__file__).read(10))\n", judge_one)
    assert verdict.verdict == "wrong" and "is open" in verdict.detail


FLOODS = {
    # bytes() takes address space without touching it: writing 1 GiB would use up the CPU limit of these tests first.
    "memory": ("def f():\n    x = []\n    while True: x.append(bytes(1 << 24))\n", {"error", "died"}),
    "memory_of_a_big_int": ("def f():\n    return len(str(10 ** 10 ** 8))\n", {"error", "timeout", "died"}),
    "regular_expression": ("import re\ndef f():\n    return re.match('(a+)+$', 'a' * 64 + 'b')\n", {"timeout"}),
    "loop_in_c": ("def f():\n    return sum(range(10 ** 18))\n", {"timeout"}),
    "threads": (
        "import threading, time\ndef f():\n    while True: threading.Thread(target=time.sleep, args=(99,)).start()\n",
        {"error", "died", "timeout"},
    ),
    "open_files": ("def f():\n    x = []\n    while True: x.append(open('/dev/null'))\n", {"error"}),
    "standard_output": ("def f():\n    while True: print('x' * 100000)\n", {"timeout"}),
    "recursion": ("def f():\n    return f()\n", {"error"}),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_ends_at_its_limit(name: str, judge_one: JudgeOne) -> None:
    source, expected = FLOODS[name]
    verdict = _judge(source, judge_one)
    assert verdict.verdict in expected, verdict
    assert verdict.cpu_s < 3, verdict


def test_host_paths_are_not_even_there(judge_one: JudgeOne, level: str) -> None:
    """Landlock denies opening only; that a path cannot be looked up is the new root directory's doing."""
    if level == "B" and os.geteuid() != 0:
        pytest.skip("level B gives an ordinary user no root directory of its own")
    source = """
def f():
    return attempt(*(lambda path=path: os.stat(path) for path in ('/etc', '/home', '/var', '/proc/1', '/sys')))
"""
    verdict = _judge(source, judge_one)
    assert verdict.verdict == "passed", verdict


def test_disk_is_small_and_private(judge_one: JudgeOne, level: str) -> None:
    """Level A: 16 MB of scratch files that vanish, in the working directory (/tmp, or /scratch where packages lie below
    /tmp); level B: none."""
    fill = """
def f():
    try:
        for number in range(64):
            with open(f'{number}', 'wb') as handle: handle.write(bytes(1 << 20))
    except OSError as error:
        return {errno.ENOSPC: 'held', errno.EACCES: 'barred', errno.EROFS: 'barred'}.get(error.errno, repr(error))
"""
    verdict = _judge(fill, judge_one)
    assert (verdict.verdict == "passed") if level == "A" else ("'barred'" in verdict.detail), verdict
    look = "def f():\n    return repr(os.listdir()) if os.listdir() else 'held'\n"
    if level == "A":
        assert _judge(look, judge_one).verdict == "passed"


def test_imports_of_the_standard_library_and_numpy_work(judge_one: JudgeOne) -> None:
    source = """
import math, re, collections, typing, decimal, sqlite3, zlib, asyncio, unittest, xml.etree.ElementTree, csv, zoneinfo
import concurrent.futures, difflib, email, html, http, logging, pprint, queue, secrets, shlex, struct, tempfile, uuid
def f():
    import numpy as np
    assert np.linalg.det(np.eye(3)) == 1
    try: input()
    except EOFError: return 'held'
"""
    judged = judge_one(
        Program(source=source, entry_point="f", io_examples=({"args": [], "kwargs": {}, "output": "held"},))
    )
    assert judged.verdict == "passed", judged
