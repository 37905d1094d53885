"""Attacks of a project's own test suite, which may fork and exec: each is a script that prints "held".

`python -m tests.sandbox.attacks.projects DIRECTORY` runs all of them, at level A. Out, as a line of JSON: `uid`, `runs`
(name -> verdict, detail, end of the output) and `left`: marked processes that still run, links and fifos that came out,
temporary files, changed mounts.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from megatron_codex.sandbox.project_run import run_project

MARK = "marked_as_a_leftover"


@dataclass(frozen=True, kw_only=True)
class ProjectAttack:
    source: str
    verdict: str = "passed"
    timeout_s: float = 20.0


ATTACKS = {
    "daemons": ProjectAttack(
        source=f"""
import os, sys, time
# Double forks that leave the session and hold none of its descriptors: the run ends, and they with it.
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 64)
            os.execv(sys.executable, ['python', '-c', 'import time; time.sleep(600)', {MARK!r}])
        os._exit(0)
    os.wait()
time.sleep(0.2)
print('held')
"""
    ),
    "stopped_processes": ProjectAttack(
        source=f"""
import os, signal, sys, time
if os.fork() == 0:
    os.execv(sys.executable, ['python', '-c', 'import os, signal; os.kill(os.getpid(), signal.SIGSTOP)', {MARK!r}])
time.sleep(0.3)
os.kill(1, signal.SIGSTOP); os.kill(1, signal.SIGKILL)
os.killpg(0, signal.SIGSTOP)
""",
        verdict="timeout",
        timeout_s=0.8,
    ),
    "ignored_signals": ProjectAttack(
        source="""
import os, signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.fork()
while True: pass
""",
        verdict="timeout",
        timeout_s=0.5,
    ),
    "kills_everything_it_sees": ProjectAttack(
        source="""
import os, signal
if os.fork() == 0: signal.pause()
os.kill(-1, signal.SIGKILL)  # all but itself and pid 1, which is ours
assert os.WTERMSIG(os.wait()[1]) == signal.SIGKILL
print('held')
"""
    ),
    "reads_other_processes": ProjectAttack(
        source="""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    import time; time.sleep(600)
buffer = ctypes.create_string_buffer(8)
numbers = (101, 310, 311, 438, 312) if os.uname().machine == 'x86_64' else (117, 270, 271, 438, 272)
for number in numbers:
    for first in (16, 0x4206, child, 1):
        assert libc.syscall(number, *map(ctypes.c_long, (first, child, 1, 0, 0, 0))) == -1, (number, first)
seen = {name for name in os.listdir('/proc') if name.isdigit()}
assert len(seen) == 3 and {'1', str(os.getpid()), str(child)} == seen, seen
os.kill(child, 9)
print('held')
"""
    ),
    "core_dumps": ProjectAttack(
        source="""
import os, resource
for folder in ('/project', '/tmp', '/output'):
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.abort()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and not os.WCOREDUMP(status) and not [n for n in os.listdir(folder) if 'core' in n]
assert max(resource.getrlimit(resource.RLIMIT_CORE)) == 1
print('held')
"""
    ),
    "system_calls": ProjectAttack(
        source="""
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def refused(x86_64, aarch64, *arguments):
    number = x86_64 if os.uname().machine == 'x86_64' else aarch64
    result = libc.syscall(number, *[ctypes.c_long(a) if type(a) is int else a for a in arguments])
    assert result == -1 and ctypes.get_errno() in (1, 38), (number, result, ctypes.get_errno())
buffer = ctypes.create_string_buffer(256)
for kind in (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000, 0x80):
    refused(272, 97, kind)
    refused(56, 220, kind & ~0xFF | 0x2000000 | 17, 0, 0, 0, 0)
refused(165, 40, b'none', b'/tmp', b'tmpfs', 0, 0); refused(166, 39, b'/tmp', 2); refused(155, 41, b'.', b'.')
refused(161, 51, b'/'); refused(308, 268, 3, 0); refused(428, 428, 0, b'/', 1); refused(430, 430, b'tmpfs', 0)
refused(425, 425, 1, buffer); refused(250, 219, 0, -3, 1); refused(323, 282, 1); refused(321, 280, 0, buffer, 128)
refused(298, 241, buffer, 0, -1, -1, 0); refused(319, 279, b'x', 0); refused(447, 447, 0); refused(135, 92, 0)
refused(29, 194, 0, 4096, 0o1600); refused(240, 180, b'/q', 0o102, 0o600, 0); refused(227, 112, 0, buffer)
refused(105, 146, 0); refused(126, 91, buffer, buffer); refused(160, 164, 7, buffer); refused(300, 262, 0, 0)
for number in (4, 8, 22, 28, 35, 36, 38, 47, 0x59616D61): refused(157, 167, number, 1, 0, 0, 0)
for family in range(1, 46):
    try: socket.socket(family, socket.SOCK_STREAM)
    except PermissionError: continue
    raise AssertionError(family)
print('held')
"""
    ),
    "descriptors_between_its_own_processes": ProjectAttack(
        source="""
import os, socket
# A socketpair may carry descriptors, but there is nothing of ours to carry: a directory of the jail stays in it.
ours, theirs = socket.socketpair()
if os.fork() == 0:
    socket.send_fds(theirs, [b'x'], [os.open('/', os.O_PATH)])
    os._exit(0)
_, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
os.wait()
for path in ('../etc/shadow', 'etc/shadow', '../../root', 'home'):
    try: os.open(path, os.O_RDONLY, dir_fd=descriptors[0])
    except OSError: continue
    raise AssertionError(path)
print('held')
"""
    ),
    "files_and_inodes": ProjectAttack(
        source="""
import errno, os
def fill(folder, size, most):
    made = 0
    try:
        while made < most:
            with open(f'{folder}/{made}', 'wb') as handle: handle.write(bytes(size))
            made += 1
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    for number in range(made + 1):
        try: os.remove(f'{folder}/{number}')
        except FileNotFoundError: pass
    return made
assert fill('/output', 0, 5000) < 5000 and fill('/dev/shm', 1 << 20, 400) < 400 and fill('/tmp', 1 << 24, 40) < 40
try: open('/tmp/sparse', 'wb').truncate(1 << 40)
except OSError: print('held')
"""
    ),
    "names_in_the_output": ProjectAttack(
        source="""
import os
for name in (b'\\xff\\xfe', b'a\\nb\\x1b[2J', b'x' * 255, b'...', '\\u202e'.encode()):
    open(b'/output/' + name, 'w').write('x')
os.symlink('/etc/passwd', '/output/link'); os.symlink('..', '/output/up'); os.mkfifo('/output/fifo')
os.chdir('/output')
for _ in range(60): os.mkdir('d' * 100); os.chdir('d' * 100)
open('f', 'w').write('x')
print('held')
"""
    ),
}


def main(directory: Path) -> None:
    python, runs = str(Path(sys.executable).resolve()), {}
    mounts, temporary = Path("/proc/self/mountinfo").read_text(), directory / "temporary"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    for name, attack in ATTACKS.items():
        project = directory / name
        project.mkdir()
        argv = [python, "-c", attack.source]
        done = run_project(argv, project=project, output=directory / f"{name}.output", timeout_s=attack.timeout_s)
        runs[name] = (done.verdict.verdict, done.verdict.detail, done.stdout.decode(errors="replace")[-300:])
    left = [path for path in directory.glob("*.output/*") if path.is_symlink() or path.is_fifo()]
    left += temporary.iterdir()
    if Path("/proc/self/mountinfo").read_text() != mounts:
        left.append(Path("/proc/self/mountinfo"))
    print(json.dumps({"uid": os.getuid(), "runs": runs, "left": [*_marked(), *map(str, left)]}))


def _marked(patience_s: float = 5.0) -> list[int]:
    """Processes of this machine with MARK among their arguments, once those that are about to end have had time to."""
    deadline = time.monotonic() + patience_s
    while True:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    found += [int(entry.name)] if MARK.encode() in (entry / "cmdline").read_bytes().split(b"\0") else []
                except (FileNotFoundError, ProcessLookupError, PermissionError):
                    continue
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
