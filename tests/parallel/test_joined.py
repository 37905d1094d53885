"""Ranks that cannot meet end in one line, with an exit code that is worth another start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("program", [TRAINING, PREFLIGHT], ids=["training", "preflight"])
def test_a_port_that_another_program_has_is_said_and_is_worth_another_start(program: str) -> None:
    with socket.create_server(("", 0)) as plant:
        port = str(plant.getsockname()[1])
        rank = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-c", program]
        ended = subprocess.run(command, cwd=ROOT, env=os.environ | rank, capture_output=True, text=True, timeout=120)
    assert ended.returncode == ExitCode.LOST_RANK
    (line,) = [line for line in ended.stderr.splitlines() if "error: " in line]
    assert line.startswith(f"error: port {port} of ") and "is another program's" in line
    assert "Traceback" not in ended.stderr
