"""gVisor containers: the same verdicts, and nothing left behind. Only where runsc is installed (Debian: runsc)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatron_codex.errors import WorkError
from megatron_codex.sandbox.gvisor import find_gvisor
from megatron_codex.sandbox.pool import JudgePool
from megatron_codex.sandbox.program import Program

TEST = "def check(candidate):\n    assert candidate(3) == 9\n"
EXAMPLES = ({"args": [3], "kwargs": {}, "output": 9},)
READS_HOST = """
def f(x):
    for path in ('/etc/shadow', '/etc/hostname', '/root/.profile', '/var/log/dpkg.log'):
        try: return [path, open(path).read()]
        except OSError: pass
    return x * x
"""
CASES = {
    "right": ("def f(x): return x * x", "passed"),
    "wrong": ("def f(x): return x", "wrong"),
    "raises": ("def f(x): return x // 0", "error"),
    "exits": ("import os\ndef f(x): os._exit(0)", "died"),
    "spins": ("def f(x):\n    while True: pass", "timeout"),
    "eats_memory": ("def f(x): return len(bytes(1 << 34))", "error"),
    "imports_numpy": ("import numpy\ndef f(x): return int(numpy.int64(x) ** 2)", "passed"),
    "reads_host": (READS_HOST, "passed"),
    "network": ("import socket\ndef f(x): socket.create_connection(('127.0.0.1', 22), 1)", "error"),
}


@pytest.fixture(scope="module")
def gvisor_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JudgePool]:
    if shutil.which("runsc") is None:
        pytest.skip("no gVisor here: runsc missing (Debian: apt-get install runsc)")
    alone = subprocess.run(
        ["runsc", "--network=none", "--ignore-cgroups", "do", "/bin/true"], capture_output=True, text=True, check=False
    )
    if alone.returncode != 0:
        pytest.skip(f"runsc is here and runs nothing, without us too: {alone.stderr.strip()[-200:]}")
    folder = tmp_path_factory.mktemp("gvisor")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        with JudgePool(2, timeout_s=1, gvisor=True) as pool:
            yield pool
        assert list(folder.iterdir()) == [], "a container left files"
    assert not _processes_below(folder), "a container is still there"


def test_verdicts_are_those_of_the_jail(gvisor_pool: JudgePool) -> None:
    names = list(CASES)
    programs = [Program(source=CASES[name][0], entry_point="f", io_examples=EXAMPLES) for name in names]
    verdicts = dict(gvisor_pool.judge(programs))
    assert {name: verdicts[index].verdict for index, name in enumerate(names)} == {
        name: verdict for name, (_, verdict) in CASES.items()
    }, verdicts
    assert all(verdict.isolation.startswith("gvisor: runsc ") for verdict in verdicts.values())


def test_tests_of_their_own_and_scripts_run_too(gvisor_pool: JudgePool) -> None:
    script = "print(int(input()) ** 2)"
    programs = [
        Program(source=CASES["right"][0], entry_point="f", test=TEST),
        Program(source=CASES["wrong"][0], entry_point="f", test=TEST),
        Program(source=script, entry_point="", stdio_examples=({"input": "3\n", "output": "9"},)),
        Program(source=script, entry_point="", stdio_examples=({"input": "3\n", "output": "8"},)),
    ]
    verdicts = dict(gvisor_pool.judge(programs))
    assert [verdicts[index].verdict for index in range(4)] == ["passed", "wrong", "passed", "wrong"], verdicts


def test_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkError, match="there is no runsc on the PATH"):
        find_gvisor()


def _processes_below(folder: Path) -> list[str]:
    """Command lines that name it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(line.decode(errors="replace"))
    return found
