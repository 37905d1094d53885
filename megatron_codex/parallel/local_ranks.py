"""Start ranks on this machine, as torchrun would, and say which one failed.

In: a command. Out: it runs once for each rank, in the environment that torchrun sets; the exit code of the whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

import torch

from megatron_codex.errors import WorkError
from megatron_codex.exit_codes import ExitCode

_POLL_S = 0.05
_GRACE_S = 10.0
"""Time that ranks have to end by themselves once one of them has ended with an error."""


def run_local_ranks(num_ranks: int, command: Sequence[str]) -> int:
    """Run `command` as ranks 0 .. num_ranks - 1; 0 when all did their work, else the first failed rank's exit code.

    Raises: WorkError naming the rank that a signal ended; the others are ended too.
    """
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
        return _wait(ranks)
    finally:
        for process in ranks:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait until all ranks have ended, or one has failed and the others had time to say why."""
    failed_at: float | None = None
    first_code = 0
    while True:
        codes = [process.poll() for process in ranks]
        for rank, code in enumerate(codes):
            if code is not None and code < 0 and not first_code:
                name = signal.Signals(-code).name
                raise WorkError(
                    f"rank {rank} of {len(ranks)} was ended by {name}; the other ranks were ended too; "
                    + ("give the ranks more memory or the model less" if name == "SIGKILL" else "see its output above")
                )
            if code and not first_code:
                first_code, failed_at = code, time.monotonic()
        if None not in codes:
            return first_code
        if failed_at is not None and time.monotonic() - failed_at > _GRACE_S:
            return first_code or ExitCode.WORK_FAILED
        time.sleep(_POLL_S)
