"""The ranks of a run joined, by any engine. No megatron-core here.

In: the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), or none of it for one
rank. Out: torch's default process group: gloo, or nccl on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist

from megatron_codex.errors import WorkError
from megatron_codex.exit_codes import ExitCode
from megatron_codex.heartbeat import this_node
from megatron_codex.parallel.lost_ranks import naming_lost_ranks


class NoMeetingError(WorkError):
    """Ranks cannot meet where they were told to; with another start they are told to meet elsewhere."""

    exit_code = ExitCode.LOST_RANK


def world_size() -> int:
    """Ranks of this run, as its launcher says; 1 without a launcher."""
    return dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined_ranks(*, cuda: bool | None = None) -> Iterator[None]:
    """Join the run's ranks for the length of the block; an existing default group is used and left as it is.

    cuda: whether they compute on GPUs, each on that of its LOCAL_RANK; None: where there are any.
    Raises: LostRankError within the block when a rank is gone; NoMeetingError when rank 0 cannot listen.
    """
    if dist.is_initialized():
        yield
        return
    cuda = torch.cuda.is_available() if cuda is None else cuda
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if cuda else "gloo"
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if "WORLD_SIZE" in os.environ:
        join(backend)
    else:
        dist.init_process_group(backend, store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)
    try:
        with naming_lost_ranks(dist.distributed_c10d._get_default_store()) if several else nullcontext():
            yield
    finally:
        dist.destroy_process_group()


def join(backend: str, *, timeout_s: float | None = None) -> None:
    """Join the ranks that a launcher has started. Raises: NoMeetingError when rank 0 cannot listen."""
    try:
        dist.init_process_group(backend, timeout=None if timeout_s is None else timedelta(seconds=timeout_s))
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        place = f"port {os.environ.get('MASTER_PORT')} of {this_node()}"
        raise NoMeetingError(
            f"{place}, where ranks would meet, is another program's; start again with another MASTER_PORT (a job of "
            "launch.py does so by itself)"
        ) from error
