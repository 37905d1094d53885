"""The worker process of a judge: started once with an empty environment, forks a jailed child for each program.

In: requests on a socket from the driver, each with the descriptors the child shall hold. Out: how each child ended.
csrc/sandbox/worker.c has the loop. The worker never sees a program, a test or an answer: a child reads its own from its
descriptors after the fork, so nothing of one run, nor of the other side of the same run, can be found in its memory.
"""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import sys
from functools import partial
from typing import NoReturn

from megatron_codex.sandbox import candidate, jail, messages, tester
from megatron_codex.sandbox.cell import build_cell
from megatron_codex.sandbox.holes import fill_holes
from megatron_codex.sandbox.jail import FIRST_DESCRIPTOR, Jail, JailPlan
from megatron_codex.sandbox.roles import ROLES
from megatron_codex.sandbox.stack import keep_recursion_limit

_RESERVED = FIRST_DESCRIPTOR + messages.MAX_DESCRIPTORS + 1
"""Descriptors below are kept for a child's own, so that none of ours lies in their way."""
_RUN_CODE_AFTER_FORK = {"random", "threading", "logging", "multiprocessing.util"}
"""Modules of the library that use os.register_at_fork, which a child's Python is not asked for (module.c)."""


def main(control: int) -> NoReturn:
    """Enter the jail and serve the driver at the other end of `control` until it is gone."""
    connection = socket.socket(fileno=fcntl.fcntl(control, fcntl.F_DUPFD_CLOEXEC, _RESERVED))
    for number in range(FIRST_DESCRIPTOR, _RESERVED):
        os.dup2(0, number, inheritable=False)
    # The driver's pidfd comes with the plan.
    message, descriptors, _, _ = socket.recv_fds(connection, messages.MAX_BYTES, messages.MAX_DESCRIPTORS)
    (driver,) = descriptors
    plan = JailPlan.from_bytes(message)
    if plan.profile == "trace":
        # Not for a judge's worker, whose forks each module makes dearer; and before the jail hides the module's file.
        from megatron_codex.sandbox import project_worker
    else:
        candidate.warm_up()  # the jail denies the sockets that it takes
        tester.warm_up()
    try:
        entered = jail.enter_jail(plan)
    except Exception as error:
        refused = isinstance(error, OSError) and error.strerror
        connection.send((refused or f"{type(error).__name__}: {error}").encode()[: messages.MAX_BYTES])
        os._exit(1)
    connection.send(b"ready")
    if plan.profile == "trace":
        project_worker.serve(connection, driver, entered)
    _serve(connection.fileno(), driver, entered)


def _serve(connection: int, driver: int, entered: Jail) -> NoReturn:
    keep_recursion_limit(num_calls=3)  # jail.serve, the one in C that it calls, the role
    assert not _RUN_CODE_AFTER_FORK & sys.modules.keys()
    # What exists now stays shared with the children: collecting would write to, and so copy, every page.
    gc.collect()
    gc.freeze()
    holes = fill_holes()
    jail.serve(entered, connection, driver, partial(build_cell, entered.place), ROLES)
    del holes  # not before: then they were free again
    os._exit(0)
