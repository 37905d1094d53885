"""Start ranks on this machine, as torchrun would, and say which one failed.

In: a command. Out: it runs once for each rank, in the environment that torchrun sets; how the ranks ended.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from megatron_codex.children import Ended, run_together


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
    each = [environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_ranks)]
    return run_together(command, environments=each, name="rank")
