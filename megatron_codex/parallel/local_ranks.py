"""Start ranks on this machine, as torchrun would, and say which one failed.

In: a command. Out: it runs once for each rank, in the environment that torchrun sets; how the ranks ended.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import torch

from megatron_codex.children import Ended, wait_for


def run_local_ranks(num_ranks: int, command: Sequence[str]) -> Ended:
    """Run `command` as ranks 0 .. num_ranks - 1. When one ends badly, the others are ended."""
    store = torch._C._distributed_c10d.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(num_ranks),
        # The store is this process's, so its port is never another program's by the time the ranks start.
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    environment.setdefault("OMP_NUM_THREADS", "1")  # ranks share the cores
    ranks: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(num_ranks):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            ranks.append(subprocess.Popen(command, env=environment | own))
    except BaseException:
        for process in ranks:
            process.kill()
            process.wait()
        raise
    return wait_for(ranks, name="rank")
