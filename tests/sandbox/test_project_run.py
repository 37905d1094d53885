"""A project's own command in the sandbox: it can do what test suites do, and nothing to the machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from megatron_codex.errors import InputError
from megatron_codex.sandbox import project_run
from megatron_codex.sandbox.probe import KernelFeatures
from megatron_codex.sandbox.project_run import ProjectRun, run_project

PYTHON = str(Path(sys.executable).resolve())


@pytest.fixture(autouse=True)
def needs_level_a(features: KernelFeatures) -> None:
    if features.missing_namespaces:
        pytest.skip(f"no namespaces here: {features.missing_namespaces}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "package.py").write_text("ANSWER = 42\n")
    (directory / "link").symlink_to("/etc/passwd")
    os.mkfifo(directory / "fifo")
    return directory


def run(project: Path, source: str, **options: object) -> ProjectRun:
    settings: dict[str, object] = {"output": project.parent / "output", "timeout_s": 20.0, **options}
    return run_project([PYTHON, "-c", source], project=project, **settings)  # type: ignore[arg-type]


def test_command_sees_a_writable_copy_and_its_output_comes_back(project: Path) -> None:
    source = (
        "import os, package; print(package.ANSWER, os.getcwd()); open('package.py', 'w').write('changed'); "
        "os.mkdir('/output/sub'); open('/output/sub/data', 'wb').write(b'x' * 3_000_000); "
        "os.symlink('/etc/passwd', '/output/link'); open('/output/empty', 'w')"
    )
    done = run(project, source)
    assert done.verdict.verdict == "passed", done
    assert done.stdout == b"42 /project\n" and done.exit_code == 0
    assert done.verdict.isolation.startswith("A: ")
    output = project.parent / "output"
    assert sorted(done.output_files) == [output / "empty", output / "sub" / "data"]
    assert (output / "sub" / "data").read_bytes() == b"x" * 3_000_000
    assert (output / "empty").read_bytes() == b""
    assert (project / "package.py").read_text() == "ANSWER = 42\n"


def test_command_may_fork_exec_and_use_pools_and_pipes(project: Path) -> None:
    source = (
        "import subprocess, sys, os, multiprocessing, socket, asyncio\n"
        "assert subprocess.check_output([sys.executable, '-c', 'print(6 * 7)']) == b'42\\n'\n"
        "assert os.popen('echo hello | tr a-z A-Z').read() == 'HELLO\\n'\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool: assert pool.map(abs, [-1, 2]) == [1, 2]\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "assert {'1'} < {name for name in os.listdir('/proc') if name.isdigit()}\n"
        "script = '/tmp/script'; open(script, 'w').write('#!/bin/sh\\necho ran'); os.chmod(script, 0o700)\n"
        "assert subprocess.check_output([script]) == b'ran\\n'\n"
        "import shutil; assert shutil.which('awk'), 'a link through /etc/alternatives'\n"
        "import getpass, pwd; assert pwd.getpwuid(os.getuid()).pw_name == 'jail'\n"
    )
    done = run(project, source)
    assert done.verdict.verdict == "passed", done.stdout.decode()


def test_command_cannot_reach_the_machine(project: Path) -> None:
    source = f"""
import os, socket, ctypes
libc = ctypes.CDLL(None, use_errno=True)
def refused(way):
    try: way()
    except OSError: return True
    print('open:', way.__code__.co_consts, way.__code__.co_names)
ways = [lambda: open('/etc/shadow'), lambda: open({str(project)!r} + '/package.py'), lambda: os.listdir('/root'),
    lambda: os.listdir('/home'), lambda: open('/usr/bin/x', 'w'),
    lambda: socket.create_connection(('127.0.0.1', 22)), lambda: socket.socket(), lambda: socket.socket(socket.AF_UNIX),
    lambda: os.kill({os.getpid()}, 0), lambda: os.setuid(0), lambda: os.chroot('/'),
    lambda: open('/proc/sysrq-trigger', 'w'), lambda: open('/proc/sys/kernel/hostname', 'w')]
assert open('link').read() == 'jail:x:1000:1000::/tmp:/bin/sh\\n'  # the symlink leads to the jail's own file
for flags in (0x10000000, 0x20000, 0x20000000, 0x40000000): assert libc.unshare(flags) == -1
assert libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == -1
assert os.environ.keys() == {{'PATH', 'HOME', 'TMPDIR', 'LANG', 'PYTHONDONTWRITEBYTECODE', 'MINE'}}, os.environ
assert all([refused(way) for way in ways])
"""
    done = run(project, source, environment={"MINE": "1"})
    assert done.verdict.verdict == "passed", done.stdout.decode()


def test_extra_directory_is_shown_read_only_even_below_tmp(project: Path, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "other.py").write_text("NAME = 'other'\n")
    source = (
        f"import sys; sys.path.insert(0, {str(extra)!r}); import other; assert other.NAME == 'other'\n"
        f"try: open({str(extra)!r} + '/new', 'w')\nexcept OSError: pass\nelse: raise SystemExit('written')\n"
        "open('/tmp/scratch', 'w').write('x')"
    )
    done = run(project, source, read_only=[extra])
    assert done.verdict.verdict == "passed", done.stdout.decode()
    assert list(extra.iterdir()) == [extra / "other.py"]


def test_time_limit_ends_every_process(project: Path) -> None:
    source = "import os, time\nos.fork(); os.fork()\nos.setsid() if os.getpid() != 2 else None\ntime.sleep(600)"
    done = run(project, source, timeout_s=1.0)
    assert (done.verdict.verdict, done.exit_code) == ("timeout", -1)
    assert done.verdict.wall_s < 10


def test_memory_limit_counts_all_processes(project: Path) -> None:
    source = "import os, time\nos.fork(); os.fork()\nx = b'1' * (60 << 20)\ntime.sleep(600)"
    done = run(project, source, memory_bytes=128 << 20)
    assert done.verdict.verdict == "died" and "memory" in done.verdict.detail


def test_fork_bomb_ends_at_the_process_limit(project: Path) -> None:
    source = (
        "import os, time\nmade = 0\ntry:\n    while made < 2000:\n        if os.fork() == 0: time.sleep(600)\n"
        "        made += 1\nexcept OSError: pass\nprint(made)\nassert made < 300"
    )
    done = run(project, source)
    assert done.verdict.verdict == "passed", done.stdout.decode()


def test_output_is_capped(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project_run, "MAX_OUTPUT_BYTES", 1 << 20)
    done = run(project, "for n in range(3): open(f'/output/{n}', 'wb').write(bytes(1 << 19))")
    assert done.verdict.verdict == "passed"
    assert sorted(path.name for path in done.output_files) == ["0", "1"] and done.output_truncated


def test_flood_of_prints_is_read_and_cut(project: Path) -> None:
    done = run(project, "import sys\nfor _ in range(300): sys.stdout.write('x' * 10_000)\n")
    assert done.verdict.verdict == "passed" and len(done.stdout) == project_run.MAX_STDOUT_BYTES


def test_exit_code_and_missing_program(project: Path) -> None:
    assert run(project, "raise SystemExit(3)").exit_code == 3
    assert run(project, "import os; os.abort()").exit_code == 128 + 6
    missing = run_project(["/no/such/program"], project=project, output=project.parent / "output", timeout_s=5)
    assert missing.exit_code == 127 and missing.verdict.verdict == "error" and b"No such file" in missing.stdout


def test_missing_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such directory"):
        run_project(["true"], project=tmp_path / "nowhere", output=tmp_path, timeout_s=1)
