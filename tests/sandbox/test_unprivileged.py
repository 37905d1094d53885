"""The sandbox for an ordinary user: level A through a user namespace, level B by Landlock alone.

As root, the tests become one: in a private mount namespace the interpreter, its packages and this package are bound to
a directory that everyone may pass, since they may lie where only root can. It lies below /tmp, where the jail's own
tmpfs must not hide it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
USER = 54321
STAGE = "/tmp/stage"

BECOME_USER = """
import ctypes, json, os, sys
sources, user, stage, interpreter, program, level = json.loads(sys.argv[1])
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
with open(f"{stage}/secret", "w") as handle:
    handle.write("secret")
os.chown(f"{stage}/secret", user, user)
os.setgroups([])
os.setgid(user)
os.setuid(user)
os.execve(interpreter, [interpreter, "-B", "-c", program, level, f"{stage}/secret"], {"PYTHONPATH": stage})
"""

JUDGING = """
import json, os, sys
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.probe import probe_kernel
from megatron_codex.sandbox.program import Program

found = probe_kernel()
features = found if sys.argv[1] == "A" else found.without_namespaces()

def probe(body):
    source = "import os, socket\\n"
    source += "def attempt(way):\\n    try: way()\\n    except OSError: return 'held'\\n    return 'open'\\n"
    return Program(source=source + body, entry_point="f", test="def check(c):\\n    assert c() == 'held'")

own_file, parent = sys.argv[2], os.getpid()
assert open(own_file).read() == "secret"
programs = [
    probe("def f(): return 'held'"),
    probe("def f(): return 'not held'"),
    probe(f"def f(): return attempt(lambda: open({own_file!r}).read())"),
    probe("def f(): return attempt(lambda: open('/etc/passwd').read())"),
    probe(f"def f(): return attempt(lambda: open('/proc/{parent}/environ').read())"),
    probe(f"def f(): return attempt(lambda: os.kill({parent}, 0))"),
    probe("def f(): return attempt(socket.socket)"),
    probe("def f(): return attempt(os.fork)"),
    probe("import numpy\\ndef f(): return 'held'"),
]
with JudgePool(1, allow_level_b=True, features=features) as pool:
    verdicts = dict(pool.judge(programs))
print(json.dumps({"uid": os.getuid(), "isolation": pool.isolation,
                  "verdicts": [[verdicts[n].verdict, verdicts[n].detail] for n in range(len(programs))]}))
"""


def run_as_user(level: str) -> dict[str, object]:
    """JUDGING in a fresh interpreter of user 54321."""
    base, numpy_home = Path(sys.base_prefix).resolve(), Path(numpy.__file__).parent
    folders = {
        "python": base,
        "numpy": numpy_home,
        "numpy.libs": numpy_home.with_name("numpy.libs"),
        "megatron_codex": REPOSITORY / "megatron_codex",
    }
    sources = {name: str(path) for name, path in folders.items() if path.is_dir()}
    interpreter = f"{STAGE}/python/{Path(sys.executable).resolve().relative_to(base)}"
    plan = [sources, USER, STAGE, interpreter, JUDGING, level]
    done = subprocess.run(
        [sys.executable, "-c", BECOME_USER, json.dumps(plan)], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("level", ["A", "B"])
def test_ordinary_user_judges_in_isolation(level: str) -> None:
    result = run_as_user(level)
    assert result["uid"] == USER
    assert str(result["isolation"]).startswith(f"{level}: ")
    verdicts = result["verdicts"]
    assert isinstance(verdicts, list)
    assert [name for name, _ in verdicts] == ["passed", "wrong", *["passed"] * 7], verdicts
