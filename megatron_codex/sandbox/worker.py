"""The driver's side of one worker process: starts it, has programs spawned and stopped, hears how they ended.

In: a JailPlan. Out: a Worker. The process is started from scratch (python -I, empty environment), never forked from the
driver, so nothing of the driver's memory, environment or descriptors is in it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import megatron_codex
from megatron_codex.sandbox import jail, messages
from megatron_codex.sandbox.control_group import ControlGroup
from megatron_codex.sandbox.jail import JailPlan, Limits
from megatron_codex.sandbox.messages import Ending, KernelLimits, Request

_START_S = 60.0
_STOP_S = 5.0
_PRELOADED = (
    "collections, collections.abc, itertools, functools, math, re, string, heapq, bisect, operator, copy, typing, "
    "dataclasses, enum, json"
)
"""What programs import most: loaded once in the worker, shared by every program. Every module makes each fork dearer,
random (imported by statistics) most of all: it seeds itself anew in each child."""
_START = (
    "import sys, os, socket; sys.path.insert(0, sys.argv[1]); sys.path += sys.argv[2:]; "
    f"import {_PRELOADED}; from megatron_codex.sandbox import zygote; sys.path.pop(0); "
    "control = os.dup(0); null = os.open(os.devnull, os.O_RDWR); [os.dup2(null, n) for n in (0, 1, 2)]; "
    "os.close(null) if null > 2 else None; zygote.main(control)"
)


class WorkerError(RuntimeError):
    """The worker process failed: no statement about any program."""


class JailRefusedError(WorkerError):
    """The kernel refused a step of entering the jail."""


class ProgramWorker(Protocol):
    """What a judge asks of a worker, whatever isolates its programs. Not for use from several threads at once."""

    def spawn(self, payload: bytes, descriptors: Sequence[int], limits: Limits) -> int:
        """Have a role (roles.py) started that holds copies of `descriptors`; returns the number of the run."""

    def stop(self, run: int) -> None:
        """Have it killed; its Ending still comes."""

    def wait(self, run: int, *, timeout_s: float) -> Ending:
        """Its end. Raises: WorkerError when it does not come in time."""

    def kill(self) -> None:
        """From any thread: end every program; whoever waits for one is told."""

    def close(self) -> None:
        """End every program, and leave nothing behind."""


class Isolation(Protocol):
    """A way to isolate programs on this machine."""

    @property
    def level(self) -> str:
        """A, B or gvisor."""

    @property
    def isolation(self) -> str:
        """As written into every result."""

    def start_worker(self, limits: Limits) -> ProgramWorker:
        """limits: of each of its programs. Raises: WorkerError."""


class Worker:
    """One worker process. Not for use from several threads at once."""

    def __init__(
        self, plan: JailPlan, *, import_paths: Sequence[str] = (), control_group: ControlGroup | None = None
    ) -> None:
        """Start it. import_paths: entries for programs' sys.path. control_group: becomes the worker's, to be removed.

        Raises: JailRefusedError naming what the kernel refused; WorkerError when it does not start.
        """
        self._connection, other_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._runs = 0
        self._endings: dict[int, Ending] = {}
        package_root = str(Path(megatron_codex.__file__).resolve().parent.parent)
        interpreter = str(Path(sys.executable).resolve())
        with other_end:
            self._process = subprocess.Popen(
                [interpreter, "-I", "-S", "-B", "-X", "utf8", "-c", _START, package_root, *import_paths],
                stdin=other_end.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={},
                process_group=0,  # Ctrl-C on the terminal is for the driver, which then ends its workers in order
            )
        self._control_group = control_group
        own_pidfd = os.pidfd_open(os.getpid())
        try:
            if control_group is not None:
                control_group.add(self._process.pid)  # before it has the plan, and so any child
            socket.send_fds(self._connection, [plan.to_bytes()], [own_pidfd])
            reply = self._receive(time.monotonic() + _START_S)
        except (OSError, WorkerError) as error:
            raise WorkerError(f"the sandbox's worker process did not start: {self._last_words() or error}") from error
        finally:
            os.close(own_pidfd)
        if reply != b"ready":
            self.close()
            raise JailRefusedError(reply.decode(errors="replace"))
        self._level = plan.level
        self._limits: dict[Limits, KernelLimits] = {}

    def spawn(
        self,
        payload: bytes,
        descriptors: Sequence[int],
        limits: Limits,
        *,
        stdout: int | None = None,
    ) -> int:
        """Have a program started that holds copies of `descriptors`; returns the number of the run.

        payload: a judge's role (zygote.ROLES), or a project's command (project_worker).
        """
        self._runs += 1
        kernel_limits = self._limits.get(limits)
        if kernel_limits is None:
            kernel_limits = self._limits[limits] = jail.kernel_limits(self._level, limits)
        has_output = stdout is not None
        request = Request(messages.SPAWN, self._runs, limits.cpu_s, limits.wall_s, has_output, kernel_limits, payload)
        self._send(request, [*descriptors, stdout] if stdout is not None else descriptors)
        return self._runs

    def stop(self, run: int) -> None:
        """Have a program killed; its Ending still comes."""
        self._send(Request(messages.STOP, run), [])

    def collect(self, descriptor: int, *, limit_bytes: int) -> None:
        """Have the files of /output sent to `descriptor` (project_program.send_output)."""
        self._send(Request(messages.COLLECT, 0, payload=b"%d" % limit_bytes), [descriptor])

    def wait(self, run: int, *, timeout_s: float) -> Ending:
        """The program's end. Raises: WorkerError when the worker does not tell it in time."""
        deadline = time.monotonic() + timeout_s
        while run not in self._endings:
            ending = messages.unpack_ending(self._receive(deadline))
            self._endings[ending.run] = ending
        return self._endings.pop(run)

    def kill(self) -> None:
        """From any thread: end the worker process and every program in it; whoever waits for it is told."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # for it, the driver is gone

    def close(self) -> None:
        """End the worker process and every program in it."""
        self._connection.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()
        if self._control_group is not None:
            self._control_group.remove()

    def _send(self, request: Request, descriptors: Sequence[int]) -> None:
        try:
            socket.send_fds(self._connection, [messages.pack_request(request)], descriptors)
        except (OSError, ValueError) as error:
            raise WorkerError(f"the sandbox's worker process is gone: {error}") from error

    def _receive(self, deadline: float) -> bytes:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise WorkerError("the sandbox's worker process does not answer")
        try:
            message = self._connection.recv(messages.MAX_BYTES)
        except OSError as error:
            raise WorkerError(f"the sandbox's worker process is gone: {error}") from error
        if not message:
            raise WorkerError("the sandbox's worker process is gone")
        return message

    def _last_words(self) -> str:
        self._connection.close()
        self._process.kill()
        _, words = self._process.communicate()
        if self._control_group is not None:
            self._control_group.remove()
        text: str = words.decode(errors="replace")
        return text.strip().rpartition("\n")[2]
