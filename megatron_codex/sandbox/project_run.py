"""Run a command of somebody else's project (its test suite, under a tracer) in the sandbox; level A only.

In: argv, the project's directory, directories to show read-only. Out: exit code, what it printed, the files it left in
/output, copied to a directory of ours. The command sees a copy of the project at /project (its working directory), no
network, no other file of the host. Source: Codex paper, section 4.5.2 (tracing in a sandbox).
"""

from __future__ import annotations

import base64
import errno
import json
import os
import select
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from megatron_codex.errors import InputError, WorkError
from megatron_codex.files import atomic_file
from megatron_codex.records import Verdict, VerdictName
from megatron_codex.sandbox.frames import read_frame
from megatron_codex.sandbox.jail import Limits
from megatron_codex.sandbox.messages import Ending
from megatron_codex.sandbox.places import OUTPUT, PROJECT, SCRATCH
from megatron_codex.sandbox.probe import choose_sandbox
from megatron_codex.sandbox.worker import Worker, WorkerError

PROJECT_IN_JAIL, OUTPUT_IN_JAIL = PROJECT, OUTPUT
MAX_STDOUT_BYTES = 1 << 20
MAX_OUTPUT_BYTES = 128 << 20
_GRACE_S = 30.0
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": SCRATCH,
    "TMPDIR": SCRATCH,
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True, kw_only=True)
class ProjectRun:
    """What came of it.

    exit_code: the command's (128 + signal for one that was killed, -1 when we stopped it). verdict: passed (exit code
    0), error (another), timeout, died (memory limit), infra (the sandbox failed). output_files: paths below `output`.
    """

    exit_code: int
    stdout: bytes
    verdict: Verdict
    output_files: tuple[Path, ...] = ()
    output_truncated: bool = False
    """Files were left out: larger than all that is read back (128 MiB), or of a name that is too long for this host."""


def run_project(
    argv: Sequence[str],
    *,
    project: Path,
    read_only: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    output: Path,
    timeout_s: float,
    memory_bytes: int = 2 << 30,
) -> ProjectRun:
    """Run `argv` in the sandbox and wait for it.

    argv: absolute paths are those of the host where `read_only` (or the interpreter, or /usr) shows them; the project's
    are below /project, and what shall be kept is written below /output. environment: added to PATH, HOME, TMPDIR, LANG;
    nothing of ours is inherited. output: directory, made if need be. timeout_s: wall time, and each process's CPU.
    memory_bytes: of all processes together (resident, shared pages once), and of each (address space).
    Raises: InputError for a path that is not there; WorkError when this machine cannot give isolation level A.
    """
    for path in (project, *read_only):
        if not path.exists():
            raise InputError(str(path), rule="no such directory", remedy="name an existing project or package path")
    sandbox = choose_sandbox(
        "trace", read_only=tuple(str(path.absolute()) for path in read_only), project=str(project.resolve())
    )
    limits = Limits(
        cpu_s=timeout_s,
        wall_s=timeout_s,
        memory_bytes=memory_bytes,
        file_bytes=MAX_OUTPUT_BYTES,
        num_processes=256,
        num_open_files=512,
    )
    command = {"argv": list(argv), "environment": {**_ENVIRONMENT, **(environment or {})}, "memory_bytes": memory_bytes}
    try:
        worker = sandbox.start_worker(limits)
    except WorkerError as error:
        raise WorkError(f"{project}: the sandbox did not start: {error}") from error
    try:
        return _run(worker, json.dumps(command).encode(), limits, output, sandbox.isolation)
    except WorkerError as error:
        verdict = Verdict(verdict="infra", detail=str(error), cpu_s=0.0, wall_s=0.0, isolation=sandbox.isolation)
        return ProjectRun(exit_code=-1, stdout=b"", verdict=verdict)
    finally:
        worker.close()


def _run(worker: Worker, command: bytes, limits: Limits, output: Path, isolation: str) -> ProjectRun:
    reading, writing = os.pipe()
    try:
        run = worker.spawn(command, [], limits, stdout=writing)
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        stdout = _read_capped(pipe.fileno(), deadline=time.monotonic() + limits.wall_s + _GRACE_S)
    ending = worker.wait(run, timeout_s=_GRACE_S)
    name, detail = _verdict_of(ending)
    verdict = Verdict(verdict=name, detail=detail, cpu_s=ending.cpu_s, wall_s=ending.wall_s, isolation=isolation)
    files, truncated = _fetch_output(worker, output)
    exit_code = -1 if ending.stopped else ending.exit
    return ProjectRun(
        exit_code=exit_code, stdout=stdout, verdict=verdict, output_files=files, output_truncated=truncated
    )


def _verdict_of(ending: Ending) -> tuple[VerdictName, str]:
    if ending.setup_error:
        return "infra", ending.setup_error
    if ending.stopped in ("wall", "cpu"):
        return "timeout", f"stopped at its limit of {ending.stopped} time"
    if ending.stopped == "memory":
        return "died", "stopped at its limit of memory"
    if ending.exit < 0:
        return "infra", f"the sandbox's first process was ended by signal {-ending.exit}"
    return ("passed", "") if ending.exit == 0 else ("error", f"exit code {ending.exit}")


def _read_capped(descriptor: int, *, deadline: float) -> bytes:
    """What is printed until every writer is gone; beyond the cap it is read and dropped, so that nobody blocks."""
    kept = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        part = os.read(descriptor, 1 << 16)
        if not part:
            return bytes(kept)
        kept += part[: MAX_STDOUT_BYTES - len(kept)]
    raise WorkerError("the project's processes outlived their time limit")


def _fetch_output(worker: Worker, output: Path) -> tuple[tuple[Path, ...], bool]:
    """Write the files of /output, sent by the worker, below `output`; each is whole or absent."""
    ours, theirs = socket.socketpair()
    files: list[Path] = []
    with ours, theirs, tempfile.SpooledTemporaryFile(max_size=1 << 20) as content:
        worker.collect(theirs.fileno(), limit_bytes=MAX_OUTPUT_BYTES)
        theirs.close()
        ours.setblocking(False)
        current: Path | None = None
        left_out = False
        while True:
            frame = read_frame(ours.fileno(), deadline=time.monotonic() + _GRACE_S)
            path = _inside(output, frame["file"]) if "file" in frame else None
            if current is not None and ("data" not in frame):
                if _write(current, content):
                    files.append(current)
                else:
                    left_out = True
            if path is None:
                return tuple(files), left_out or bool(frame["truncated"])
            content.write(base64.b64decode(frame.get("data", "")))
            current = path


def _write(path: Path, content: tempfile.SpooledTemporaryFile[bytes]) -> bool:
    """Write what was received and forget it; False where the name, or the temporary one, is too long for this host."""
    content.seek(0)
    try:
        with atomic_file(path) as handle:
            while block := content.read(1 << 20):
                handle.write(block)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False
    finally:
        content.seek(0)
        content.truncate()
    return True


def _inside(output: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/"):
        raise WorkerError(f"a file of the output has the name {name!r}")
    return output.joinpath(*parts)
