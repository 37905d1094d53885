"""The sandbox for an ordinary user: level A through a user namespace, level B by Landlock alone.

As root, the tests become one: in a private mount namespace the interpreter, its packages and this repository are bound
to a directory that everyone may pass, since they may lie where only root can (/root/.pyenv).
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
USER = 54321

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

own_file, parent = os.path.abspath(sys.argv[2]), os.getpid()
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


def run_as_user(level: str, stage: Path) -> dict[str, object]:
    """JUDGING in a fresh interpreter of user 54321."""
    base, packages = Path(sys.base_prefix), Path(json.__file__).parent
    assert packages.is_relative_to(base)
    import numpy

    sources = {
        "python": base,
        "numpy": Path(numpy.__file__).parent,
        "numpy.libs": Path(numpy.__file__).parent.with_name("numpy.libs"),
        "megatron_codex": REPOSITORY / "megatron_codex",
    }
    sources = {name: path for name, path in sources.items() if path.is_dir()}
    for name in sources:
        (stage / name).mkdir()
    (stage / "secret").write_text("secret")
    (stage / "judging.py").write_text(JUDGING)
    for path in (stage, *stage.iterdir(), *[each for each in stage.parents if each.is_relative_to("/tmp")]):
        path.chmod(0o755)
    os.chown(stage / "secret", USER, USER)
    interpreter = stage / "python" / Path(sys.executable).resolve().relative_to(base)

    def become() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        new_mount_namespace, private_and_recursive, bind_and_recursive = 0x20000, (1 << 18) | 16384, 4096 | 16384
        assert libc.unshare(new_mount_namespace) == 0
        assert libc.mount(b"none", b"/", None, ctypes.c_ulong(private_and_recursive), None) == 0
        for name, path in sources.items():
            target = str(stage / name).encode()
            assert libc.mount(str(path).encode(), target, None, ctypes.c_ulong(bind_and_recursive), None) == 0
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)

    done = subprocess.run(
        [interpreter, "-B", stage / "judging.py", level, stage / "secret"],
        preexec_fn=become,
        env={"PYTHONPATH": str(stage)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("level", ["A", "B"])
def test_ordinary_user_judges_in_isolation(level: str, tmp_path: Path, needs_root: None) -> None:
    result = run_as_user(level, tmp_path)
    assert result["uid"] == USER
    assert str(result["isolation"]).startswith(f"{level}: ")
    verdicts = result["verdicts"]
    assert isinstance(verdicts, list)
    names = [name for name, _ in verdicts]
    assert names == ["passed", "wrong", *["passed"] * 7], verdicts
