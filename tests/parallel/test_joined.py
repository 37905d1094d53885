"""Ranks that cannot meet end in one line, with an exit code that is worth another start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from megatron_codex.exit_codes import ExitCode
from tests.parallel.ranks import ROOT

TRAINING = """
from megatron_codex.errors import run_command
from megatron_codex.parallel.joined import joined_ranks

def main():
    with joined_ranks():
        pass

run_command(main)
"""
PREFLIGHT = """
from megatron_codex.errors import run_command
from megatron_codex.parallel.neighbour_links import measure_links

run_command(lambda: measure_links(size_mb=1, timeout_s=30))
"""


def test_a_port_that_another_program_has_is_said_and_is_worth_another_start() -> None:
    with socket.create_server(("", 0)) as plant:
        port = str(plant.getsockname()[1])
        rank = os.environ | {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started = [
            subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=rank, stderr=subprocess.PIPE, text=True)
            for program in (TRAINING, PREFLIGHT)
        ]
        errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [ExitCode.LOST_RANK] * 2, errors
    for error in errors:
        (line,) = [line for line in error.splitlines() if "error: " in line]
        assert line.startswith(f"error: port {port} of ") and "is another program's" in line
        assert "Traceback" not in error
