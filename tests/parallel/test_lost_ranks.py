"""A rank that dies is named, in one line, by one of those that are left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch

from megatron_codex.exit_codes import ExitCode
from megatron_codex.parallel.local_ranks import run_local_ranks
from tests.parallel.ranks import ROOT

pytestmark = pytest.mark.multirank

# Rank 1 dies in the midst of collectives; the others wait, one of them in a group without rank 1.
_RANK = """
import os, signal, sys
import torch, torch.distributed as dist
from megatron_codex.errors import run_command
from megatron_codex.parallel.lost_ranks import naming_lost_ranks

def main():
    dist.init_process_group("gloo")
    left = dist.new_group([0, 2])
    with naming_lost_ranks(dist.distributed_c10d._get_default_store()):
        dist.all_reduce(torch.ones(1))
        if dist.get_rank() == DYING:
            os.kill(os.getpid(), signal.SIGKILL)
        if dist.get_rank() == 2:
            dist.all_reduce(torch.ones(1), group=left)
        dist.all_reduce(torch.ones(1))

run_command(main)
"""


@pytest.fixture(scope="module")
def ended() -> dict[int, list[tuple[str, int]]]:
    """dying rank -> standard error and exit code of three ranks. Both runs go at once: mostly they wait."""
    stores, runs = [], {}
    try:
        for dying in (0, 1):
            store = torch._C._distributed_c10d.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            stores.append(store)
            environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "3"}
            environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", _RANK.replace("DYING", str(dying))]
            runs[dying] = [
                subprocess.Popen(command, env=environment | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
                for rank in range(3)
            ]
        return {
            dying: [(process.communicate(timeout=120)[1], process.returncode) for process in ranks]
            for dying, ranks in runs.items()
        }
    finally:
        for process in (process for ranks in runs.values() for process in ranks):
            process.kill()
            process.wait()


@pytest.mark.parametrize(("dying", "speaking"), [(1, 0), (0, 1)])
def test_a_dead_rank_is_named_by_the_first_that_is_left(
    ended: dict[int, list[tuple[str, int]]], dying: int, speaking: int
) -> None:
    found = ended[dying]
    assert found[dying][1] == -signal.SIGKILL
    error, code = found[speaking]
    assert code == ExitCode.LOST_RANK
    lines = [line for line in error.splitlines() if "error: " in line]
    assert len(lines) == 1 and lines[0].startswith(f"error: rank {dying} of 3 died or ended")
    assert "Traceback" not in error
    (other,) = {0, 1, 2} - {dying, speaking}
    assert found[other][1] == ExitCode.LOST_RANK and "error: " not in found[other][0]


def test_local_ranks_name_the_one_that_a_signal_ended() -> None:
    code = "import os, signal, time\nif os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGSEGV)\ntime.sleep(60)"
    ended = run_local_ranks(2, [sys.executable, "-c", code])
    assert (ended.code, ended.told) == (128 + signal.SIGSEGV, False)
    assert ended.how.startswith("rank 1 of 2 was ended by SIGSEGV; the other ranks were ended too")


def test_local_ranks_hand_on_an_exit_code() -> None:
    code = "import os, sys; sys.exit(2 if os.environ['RANK'] == '1' else 0)"
    assert run_local_ranks(2, [sys.executable, "-c", code]).code == 2
    assert run_local_ranks(2, [sys.executable, "-c", "pass"]).code == 0
