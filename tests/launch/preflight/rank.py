"""One rank of a preflight, on a "node" of its own (SLURMD_NODENAME), with a fault planted where MCX_PLANT says.

python -m tests.launch.preflight.rank ARGUMENTS OF tools/preflight.py
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from megatron_codex.errors import run_command
from megatron_codex.launch.preflight import run


def _off_by_30_s(run_preflight: Callable[..., str]) -> Callable[..., str]:
    def call(*args: Any, **kwargs: Any) -> str:
        return run_preflight(*args, **kwargs, clock=lambda: time.time() + 30)

    return call


def main() -> None:
    """The command, with the plant."""
    plant = os.environ.get("MCX_PLANT", "")
    with ExitStack() as stack:
        if plant == "silent":
            time.sleep(600)
        if plant == "clock":
            stack.enter_context(patch.object(run, "preflight", _off_by_30_s(run.preflight)))
        if plant == "blocked":  # a firewall: nothing listens where the others look
            with socket.create_server(("127.0.0.1", 0)) as unused:
                port = unused.getsockname()[1]
            stack.enter_context(patch.object(run.ClockServer, "port", port))
        from tools.preflight import main as command  # after the plants

        command()


if __name__ == "__main__":
    run_command(main)
