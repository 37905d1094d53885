"""Inside a gVisor container: takes the descriptors of one run, and becomes its role.

In: a socket as standard input, one message with descriptors on it. Out: "ready" on that socket, then the role's own.
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from megatron_codex.sandbox import messages
from megatron_codex.sandbox.roles import ROLES
from megatron_codex.sandbox.stack import keep_recursion_limit


def main() -> NoReturn:
    """Run one role and end."""
    control = socket.socket(fileno=os.dup(0))
    role, descriptors, _, _ = socket.recv_fds(control, messages.MAX_BYTES, messages.MAX_DESCRIPTORS)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    control.send(b"ready")
    control.close()
    keep_recursion_limit(num_calls=1)
    try:
        ROLES[role](*descriptors)
    finally:
        os._exit(1)
