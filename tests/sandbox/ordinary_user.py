"""Running Python as an ordinary user, from tests that run as root.

In a private mount namespace the interpreter, its packages, this package and its tests are bound to a directory that
everyone may pass, since they may lie where only root can. It lies below /tmp: the jail's own tmpfs must not hide it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy

REPOSITORY = Path(__file__).resolve().parents[2]
USER = 54321
STAGE = "/tmp/stage"
HOME = f"{STAGE}/home"

BECOME_USER = """
import ctypes, json, os, sys
sources, user, stage, interpreter, arguments = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)

def mount(source, target, kind, flags):
    if libc.mount(source.encode(), target.encode(), kind, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")

NEW_MOUNT_NAMESPACE, PRIVATE, RECURSIVE, BIND = 0x20000, 1 << 18, 16384, 4096
assert libc.unshare(NEW_MOUNT_NAMESPACE) == 0
mount("none", "/", None, PRIVATE | RECURSIVE)
opened = {name: os.open(path, os.O_PATH) for name, path in sources.items()}
mount("tmpfs", "/tmp", b"tmpfs", 0)
for name, descriptor in opened.items():
    os.makedirs(f"{stage}/{name}")
    mount(f"/proc/self/fd/{descriptor}", f"{stage}/{name}", None, BIND | RECURSIVE)
os.mkdir(f"{stage}/home")
os.chown(f"{stage}/home", user, user)
os.setgroups([])
os.setgid(user)
os.setuid(user)
os.execve(interpreter, [interpreter, "-B", *arguments], {"PYTHONPATH": f"{stage}/packages:{stage}/repository"})
"""


def run_as_user(arguments: Sequence[str]) -> str:
    """What a fresh interpreter of user 54321 prints. HOME is an empty directory of that user's. Needs root."""
    base, numpy_home = Path(sys.base_prefix).resolve(), Path(numpy.__file__).parent
    folders = {
        "python": base,
        "packages/numpy": numpy_home,
        "packages/numpy.libs": numpy_home.with_name("numpy.libs"),
        "repository/megatron_codex": REPOSITORY / "megatron_codex",
        "repository/tests": REPOSITORY / "tests",
    }
    sources = {name: str(path) for name, path in folders.items() if path.is_dir()}
    interpreter = f"{STAGE}/python/{Path(sys.executable).resolve().relative_to(base)}"
    plan = json.dumps([sources, USER, STAGE, interpreter, list(arguments)])
    return _run([sys.executable, "-c", BECOME_USER, plan], dict(os.environ))


def run_as_ourselves(arguments: Sequence[str]) -> str:
    """The same in a fresh interpreter of this user."""
    return _run([sys.executable, "-B", *arguments], {**os.environ, "PYTHONPATH": str(REPOSITORY)})


def _run(argv: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(argv, cwd="/", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
