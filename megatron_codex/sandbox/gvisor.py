"""gVisor: each program in a container of its own, on a kernel of its own (runsc of google/gvisor), where it is there.

Stronger against faults of the host's kernel, and a hundred times slower than the jail: a container for each process of
a judgement. In: as a Worker's. Out: the same Endings. Inside, a program has the limits of a process, no network, the
interpreter read-only and a tmpfs. CPU time is counted and limited by gVisor's kernel, to the second.
Source: gvisor.dev/docs, the OCI runtime specification.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import megatron_codex
from megatron_codex.errors import WorkError
from megatron_codex.sandbox import places, root_directory
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending, StoppedName
from megatron_codex.sandbox.probe import PACKAGES, package_paths
from megatron_codex.sandbox.worker import WorkerError

PROGRAM = "runsc"
_START_S = 60.0
_NATURAL_END_S = 1.0
_NOBODY = 65534
_START = "import sys; sys.path[:0] = sys.argv[1:]; from megatron_codex.sandbox import guest; guest.main()"
_KILLED = 128
"""runsc's exit code for a signal is this and the signal's number."""


@dataclass(frozen=True, kw_only=True)
class GVisorSandbox:
    """runsc as found, ready to start workers."""

    path: str
    version: str

    @property
    def level(self) -> str:
        return "gvisor"

    @property
    def isolation(self) -> str:
        """As written into every result."""
        return f"gvisor: {self.version}, rlimits"

    def start_worker(self, limits: Limits) -> GVisorWorker:
        """limits: of each program; given again with each, since containers share nothing."""
        return GVisorWorker(self.path)


def find_gvisor() -> GVisorSandbox:
    """Raises: WorkError when there is no runsc, or no setpriv (util-linux) to bind it to this process's life."""
    paths = {program: shutil.which(program) for program in (PROGRAM, "setpriv")}
    for program, path in paths.items():
        if path is None:
            raise WorkError(f"gVisor was asked for, and there is no {program} on the PATH; install it, or leave it out")
    said = subprocess.run([str(paths[PROGRAM]), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"runsc version (\S+)", said)
    return GVisorSandbox(path=str(paths[PROGRAM]), version=f"runsc {found[1] if found else 'of unknown version'}")


class GVisorWorker:
    """A Worker (worker.py) that starts a container for each run. Not for use from several threads at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._runs: dict[int, _Run] = {}
        self._number = 0

    def spawn(self, payload: bytes, descriptors: Sequence[int], limits: Limits) -> int:
        """Start a role (roles.ROLES) that holds copies of `descriptors`; returns the number of the run."""
        self._number += 1
        self._runs[self._number] = _Run(self._path, self._number, payload, descriptors, limits)
        return self._number

    def stop(self, run: int) -> None:
        """Have a program ended, by itself in the next second or killed; its Ending still comes."""
        self._runs[run].stop()

    def wait(self, run: int, *, timeout_s: float) -> Ending:
        """The program's end. Raises: WorkerError when it does not come in time."""
        try:
            return self._runs[run].ending.result(timeout_s + _START_S)
        except TimeoutError:
            raise WorkerError("gVisor does not end a container") from None
        finally:
            del self._runs[run]

    def kill(self) -> None:
        """From any thread: end every program."""
        for run in list(self._runs.values()):
            run.kill("asked")

    def close(self) -> None:
        """End every program, and wait until the containers are gone."""
        self.kill()
        for number in list(self._runs):
            self.wait(number, timeout_s=0)


class _Run:
    """One container, from its start to its Ending."""

    def __init__(self, path: str, number: int, role: bytes, descriptors: Sequence[int], limits: Limits) -> None:
        self._number, self._limits = number, limits
        self._stopped: StoppedName = ""
        self.ending: Future[Ending] = Future()
        self._folder = Path(tempfile.mkdtemp(prefix="megatron_codex-gvisor-"))
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            (self._folder / "config.json").write_text(json.dumps(_container(self._folder, limits)))
            options = ["--root", str(self._folder / "state"), "--network=none", "--ignore-cgroups"]
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", path, *options),
                    *("run", "--bundle", str(self._folder), f"megatron_codex-{os.getpid()}-{self._folder.name[-8:]}"),
                ],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,
            )
        socket.send_fds(ours, [role], list(descriptors))
        Thread(target=self._watch, args=(ours,), daemon=True).start()

    def stop(self) -> None:
        """runsc takes its time to tell an end: a program that ended by itself is to be reported so."""
        try:
            self._process.wait(_NATURAL_END_S)
        except subprocess.TimeoutExpired:
            self.kill("asked")

    def kill(self, reason: StoppedName) -> None:
        """The container's kernel and file server die with runsc."""
        self._stopped = self._stopped or reason
        self._process.send_signal(signal.SIGKILL)

    def _watch(self, control: socket.socket) -> None:
        """Until the container has ended; its wall time is counted from the moment in which its role begins."""
        with control:
            control.settimeout(_START_S)
            try:
                ready = control.recv(16) == b"ready"
            except OSError:
                ready = False
        started = time.monotonic()
        if not ready:
            self.kill("asked")
        try:
            _, words = self._process.communicate(timeout=self._limits.wall_s)
        except subprocess.TimeoutExpired:
            self.kill("wall")
            _, words = self._process.communicate()
        wall_s = time.monotonic() - started
        code = self._process.returncode
        signalled = code - _KILLED if code > _KILLED else 0
        if signalled in (signal.SIGKILL, signal.SIGXCPU) and not self._stopped and wall_s >= self._limits.cpu_s:
            self._stopped = "cpu"
        shutil.rmtree(self._folder, ignore_errors=True)
        last_words = words.decode(errors="replace").strip().rpartition("\n")[2]
        self.ending.set_result(
            Ending(
                run=self._number,
                exit=-signalled if signalled else code,
                stopped=self._stopped,
                setup_error="" if ready else last_words or "runsc ended before it ran anything",
                cpu_s=min(wall_s, self._limits.cpu_s) if self._stopped == "cpu" else 0.0,
                wall_s=wall_s,
            )
        )


def _container(folder: Path, limits: Limits) -> dict[str, Any]:
    """The OCI configuration of one run; its root directory is made below `folder`."""
    (folder / "root").mkdir()
    package = Path(megatron_codex.__file__).resolve().parent
    shown, import_paths = package_paths(PACKAGES)
    interpreter = str(Path(sys.executable).resolve())
    read_only = root_directory.without_nested(
        [*root_directory.interpreter_paths(with_programs=False), sys.base_prefix, *shown, str(package)]
    )
    named = {path: str(Path(path).resolve()) for path in root_directory.interpreter_paths(with_programs=False)}
    binds = {**{path: path for path in read_only}, **named}
    values = {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_CPU": math.ceil(limits.cpu_s),
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.num_open_files,
        "RLIMIT_CORE": 0,
    }
    return {
        "ociVersion": "1.0.0",
        "process": {
            "user": {"uid": _NOBODY, "gid": _NOBODY},
            "args": [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", _START, str(package.parent), *import_paths],
            "env": [],
            "cwd": places.SCRATCH,
            "capabilities": {},
            "rlimits": [{"type": kind, "hard": value, "soft": value} for kind, value in values.items()],
            "noNewPrivileges": True,
        },
        "root": {"path": str(folder / "root"), "readonly": True},
        "hostname": "jail",
        "mounts": [
            *(
                {"destination": path, "type": "bind", "source": source, "options": ["ro", "rbind"]}
                for path, source in sorted(binds.items())
            ),
            {"destination": places.SCRATCH, "type": "tmpfs", "source": "tmpfs", "options": ["size=16m"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
    }
