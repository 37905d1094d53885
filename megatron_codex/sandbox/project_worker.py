"""The worker process of a project's run: one command in its own jail, watched, and what it leaves in /output sent.

In: requests on a socket from the driver. Out: how the command ended; its output files. Unlike a judge's worker
(zygote.py) it forks once or twice in its life, and counts the memory of all processes of its jail.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import NoReturn

from megatron_codex.sandbox import jail, kernel, messages, project_program
from megatron_codex.sandbox.cell import build_project_cell
from megatron_codex.sandbox.jail import FIRST_DESCRIPTOR, Jail
from megatron_codex.sandbox.messages import Ending, Request, StoppedName

_READY = b"ready"
_CHECK_MS = 100
"""Between two looks at the memory and time of a run."""


@dataclass(kw_only=True)
class Child:
    """A running command, as its parent knows it."""

    request: Request
    memory_bytes: int
    pid: int
    pidfd: int
    setup: int
    """Reading end of the pipe on which the child says that its jail is closed, or why not."""
    started: float
    stopped: StoppedName = ""


def serve(connection: socket.socket, driver: int, entered: Jail) -> NoReturn:
    """Serve the driver until it is gone."""
    child: Child | None = None
    poll = select.poll()
    for descriptor in (connection.fileno(), driver):
        poll.register(descriptor, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll(None if child is None else _CHECK_MS):
            if descriptor == driver:
                os._exit(0)  # the driver died: as pid 1 we take every process of the jail along
            if descriptor == connection.fileno():
                child = _answer(connection, entered, child)
                if child is not None:
                    poll.register(child.pidfd, select.POLLIN)
            elif child is not None and descriptor == child.pidfd:
                poll.unregister(descriptor)
                connection.send(messages.pack_ending(_collect(child)))
                child = None
        if child is not None:
            _enforce_limits(child)


def _answer(connection: socket.socket, entered: Jail, child: Child | None) -> Child | None:
    message, descriptors, _, _ = socket.recv_fds(connection, messages.MAX_BYTES, messages.MAX_DESCRIPTORS)
    if not message:
        os._exit(0)
    request = messages.unpack_request(message)
    if request.kind == messages.SPAWN:
        assert child is None, "one run at a time"
        child = _spawn(entered, request, descriptors)
    elif request.kind == messages.STOP and child is not None and child.request.run == request.run:
        _kill(child, "asked")
    elif request.kind == messages.COLLECT:
        project_program.send_output(descriptors[0], limit_bytes=int(request.payload))
    for descriptor in descriptors:
        os.close(descriptor)
    return child


def _spawn(entered: Jail, request: Request, descriptors: list[int]) -> Child:
    """descriptors: standard output and error of the command."""
    arguments = json.loads(request.payload)
    setup, setup_end = os.pipe()
    kernel.unshare_next_pid_namespace(entered.own_pidfd)
    pid = os.fork()
    if pid == 0:
        _enter(entered, request, setup_end, descriptors[0])
        project_program.execute(argv=arguments["argv"], environment=arguments["environment"])
    os.close(setup_end)
    return Child(
        request=request,
        memory_bytes=arguments["memory_bytes"],
        pid=pid,
        pidfd=os.pidfd_open(pid),
        setup=setup,
        started=time.monotonic(),
    )


def _enter(entered: Jail, request: Request, setup_end: int, output: int) -> None:
    try:
        cell = build_project_cell(entered.place)
        jail.lock_down(entered, cell, request.limits, descriptors=(setup_end,), output=output)
        os.write(FIRST_DESCRIPTOR, _READY)
        os.close(FIRST_DESCRIPTOR)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".encode()[:1000]
        try:
            os.write(setup_end, text)
        except OSError:
            os.write(FIRST_DESCRIPTOR, text)  # lock_down has put it there already and closed all high numbers
        os._exit(120)


def _collect(child: Child) -> Ending:
    _, status, usage = os.wait4(child.pid, 0)
    setup = os.read(child.setup, 1024)
    os.close(child.setup)
    os.close(child.pidfd)
    return Ending(
        run=child.request.run,
        exit=os.waitstatus_to_exitcode(status),
        stopped=child.stopped,
        setup_error="" if setup == _READY else setup.decode(errors="replace") or "it died before it was jailed",
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.monotonic() - child.started,
    )


def _enforce_limits(child: Child) -> None:
    if child.stopped:
        return
    if kernel.cpu_seconds(child.pid) >= child.request.cpu_s:
        _kill(child, "cpu")
    elif time.monotonic() >= child.started + child.request.wall_s:
        _kill(child, "wall")
    elif project_program.exceeds_memory(child.memory_bytes):
        _kill(child, "memory")


def _kill(child: Child, reason: StoppedName) -> None:
    """End the first process of the jail; every other one of its pid namespace dies with it."""
    child.stopped = child.stopped or reason
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
