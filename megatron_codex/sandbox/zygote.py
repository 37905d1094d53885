"""The worker process: started once with an empty environment, forks a jailed child for each program.

In: requests on a socket from the driver, each with the descriptors the child shall hold. Out: how each child ended.
The zygote never sees a program, a test or an answer: a child reads its own from its descriptors after the fork, so
nothing of one run, nor of the other side of the same run, can be found in a child's memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from megatron_codex.sandbox import candidate, checker, jail, project_program, script, tester
from megatron_codex.sandbox.jail import Jail, JailPlan, Limits

ROLES: dict[str, Callable[..., NoReturn]] = {
    "candidate": candidate.serve,
    "tester": tester.run,
    "script": script.run,
    "checker": checker.run,
    "project": project_program.execute,
}
MAX_MESSAGE_BYTES = 1 << 16
_MAX_DESCRIPTORS = 8
_READY = b"ready"
_SETUP_DESCRIPTOR = 100
"""Above every number that lock_down hands out."""
_SHORTEST_WAIT_S = 0.005
_MEMORY_CHECK_S = 0.1


@dataclass(kw_only=True)
class Child:
    """A running program, as its parent knows it."""

    run: int
    pid: int
    pidfd: int
    setup: int
    """Reading end of the pipe on which the child says that its jail is closed, or why not."""
    limits: Limits
    started: float
    stopped: str = ""
    """Why we killed it: cpu, wall, memory or asked."""


def main(control: int) -> NoReturn:
    """Serve the driver at the other end of `control` until it is gone."""
    connection = socket.socket(fileno=control)
    # Messages keep their borders on this kind of socket; the driver's pidfd comes with the plan.
    message, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, _MAX_DESCRIPTORS)
    (driver,) = descriptors
    plan = JailPlan(**json.loads(message)["plan"])
    try:
        entered = jail.enter_jail(plan)
    except OSError as error:
        connection.send(json.dumps({"failed": error.strerror or str(error)}).encode())
        os._exit(1)
    connection.send(json.dumps({"ready": True}).encode())
    Zygote(connection, driver, entered).serve()


class Zygote:
    """Forks, watches and ends children; one thread, no state of any program."""

    def __init__(self, connection: socket.socket, driver: int, entered: Jail) -> None:
        self.connection, self.driver, self.jail = connection, driver, entered
        self.children: dict[int, Child] = {}
        self.own_pidfd = os.pidfd_open(os.getpid())
        # What exists now stays shared with the children: collecting would write to, and so copy, every page.
        gc.collect()
        gc.freeze()

    def serve(self) -> NoReturn:
        poll = select.poll()
        for descriptor in (self.connection.fileno(), self.driver):
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll(self._wait_ms()):
                if descriptor == self.driver:
                    os._exit(0)  # the driver died: as pid 1 (level A) or parent (level B) we take every child along
                if descriptor == self.connection.fileno():
                    self._answer(poll)
                elif descriptor in self.children:
                    poll.unregister(descriptor)
                    self._report(self.children.pop(descriptor))
            for child in self.children.values():
                self._enforce_limits(child)

    def _answer(self, poll: select.poll) -> None:
        message, descriptors, _, _ = socket.recv_fds(self.connection, MAX_MESSAGE_BYTES, _MAX_DESCRIPTORS)
        if not message:
            os._exit(0)
        request = json.loads(message)
        if request["do"] == "spawn":
            child = self._spawn(request, descriptors)
            self.children[child.pidfd] = child
            poll.register(child.pidfd, select.POLLIN)
        elif request["do"] == "stop":
            for child in self.children.values():
                if child.run == request["run"]:
                    _kill(child, "asked")
        elif request["do"] == "collect":
            project_program.send_output(descriptors[0], limit_bytes=request["limit_bytes"])
        for descriptor in descriptors:
            os.close(descriptor)

    def _spawn(self, request: dict[str, Any], descriptors: list[int]) -> Child:
        limits = Limits(**request["limits"])
        stdout = descriptors.pop() if request["has_stdout"] else None
        setup, setup_end = os.pipe()
        if self.jail.plan.level == "A":
            jail.unshare_pid_namespace(self.own_pidfd)
        pid = os.fork()
        if pid == 0:
            self._become_child(request, limits, descriptors, stdout, setup_end)
        os.close(setup_end)
        if stdout is not None:
            os.close(stdout)
        pidfd = os.pidfd_open(pid)
        return Child(run=request["run"], pid=pid, pidfd=pidfd, setup=setup, limits=limits, started=time.monotonic())

    def _become_child(
        self, request: dict[str, Any], limits: Limits, descriptors: list[int], stdout: int | None, setup_end: int
    ) -> NoReturn:
        setup_end = fcntl.fcntl(setup_end, fcntl.F_DUPFD, _SETUP_DESCRIPTOR)
        try:
            jail.lock_down(self.jail, limits, descriptors=[setup_end, *descriptors], stdout=stdout)
            os.write(3, _READY)
            os.close(3)  # from here on only the program itself can fail, and it cannot say that the jail did
        except BaseException as error:
            _say_and_exit(setup_end, error)
        try:
            ROLES[request["role"]](*range(4, 4 + len(descriptors)), **request["arguments"])
        finally:
            os._exit(1)

    def _report(self, child: Child) -> None:
        _, status, usage = os.wait4(child.pid, 0)
        setup = os.read(child.setup, 1024)
        report = {
            "run": child.run,
            "exit": os.waitstatus_to_exitcode(status),
            "stopped": child.stopped,
            "setup_error": "" if setup == _READY else setup.decode(errors="replace") or "it died before it was jailed",
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "wall_s": time.monotonic() - child.started,
        }
        os.close(child.setup)
        os.close(child.pidfd)
        self.connection.send(json.dumps(report).encode())

    def _wait_ms(self) -> float | None:
        """Until the first limit can be reached: a single thread cannot use more CPU than time passes."""
        if not self.children:
            return None
        wait_s = min(
            min(child.limits.cpu_s - _cpu_s(child.pid), child.started + child.limits.wall_s - time.monotonic())
            for child in self.children.values()
        )
        if self.jail.plan.profile == "trace":
            wait_s = min(wait_s, _MEMORY_CHECK_S)
        return max(wait_s, _SHORTEST_WAIT_S) * 1000

    def _enforce_limits(self, child: Child) -> None:
        if child.stopped:
            return
        if _cpu_s(child.pid) >= child.limits.cpu_s:
            _kill(child, "cpu")
        elif time.monotonic() >= child.started + child.limits.wall_s:
            _kill(child, "wall")
        elif self.jail.plan.profile == "trace" and project_program.exceeds_memory(child.limits.memory_bytes):
            _kill(child, "memory")


def _kill(child: Child, reason: str) -> None:
    """End a child; at level A every process of its pid namespace dies with it."""
    child.stopped = child.stopped or reason
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)


def _cpu_s(pid: int) -> float:
    """CPU time of another process: the clock that clock_getcpuclockid(3) would name."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0  # it has ended; its report is on the way


def _say_and_exit(setup_end: int, error: BaseException) -> NoReturn:
    text = f"{type(error).__name__}: {error}".encode()[:1000]
    try:
        os.write(setup_end, text)
    except OSError:
        os.write(3, text)  # lock_down has put it there already and closed all high numbers
    os._exit(120)
