"""Links between ranks before a run: does a sum over all ranks come out right, and how fast is each pair of neighbours?

In: the ranks of a job, as their launcher started them, not joined yet. Out: for this rank's neighbours (the next and
the one before) the speed of an all-reduce of the two, and what came out wrong. All ranks call it.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from megatron_codex.parallel.joined import NoMeetingError, join

_REPEATS = 3


def measure_links(*, size_mb: float, timeout_s: float) -> dict[str, Any]:
    """{"wrong": {neighbour or "all": reason}, "gb_s": {neighbour: gigabytes a second}}.

    Speed is the tensor's bytes over the time of its all-reduce, the best of a few. A neighbour that does not answer
    within timeout_s is in "wrong", and nothing more is asked of the others: a group that has failed stays so.
    Raises: NoMeetingError when rank 0 cannot listen.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    rank = int(os.environ["RANK"])
    wrong: dict[str, str] = {}
    speeds: dict[str, float] = {}
    peer = rank
    try:
        join("nccl" if cuda else "gloo", timeout_s=timeout_s)
        size = dist.get_world_size()
        for first in range(min(2, size - 1)):  # pairs (0, 1), (2, 3), ... and then (1, 2), (3, 4), ..., the last with 0
            peer = _partner(rank, size, first)
            # Also a rank that is left over: torch numbers the groups that a process has made, alike on all their ranks.
            pair = sorted({rank, peer})
            group = dist.new_group(pair, timeout=timedelta(seconds=timeout_s), use_local_synchronization=True)
            if peer == rank:
                continue
            speed, reason = _pair_speed(group, pair, size_mb=size_mb, device="cuda" if cuda else "cpu")
            speeds[str(peer)] = speed
            if reason:
                wrong[str(peer)] = reason
        peer = (rank + 1) % size
        total = torch.full((), rank + 1.0, device="cuda" if cuda else "cpu")
        dist.all_reduce(total)
        if total.item() != size * (size + 1) / 2:
            wrong[str(peer)] = f"the sum over all ranks is {total.item():g}, not {size * (size + 1) / 2:g}"
    except NoMeetingError:  # of no neighbour, and of no node
        raise
    except (RuntimeError, dist.DistError) as error:
        wrong[str(peer)] = " ".join(str(error).split())[:200]
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return {"wrong": wrong, "gb_s": speeds}


def _partner(rank: int, size: int, first: int) -> int:
    """The rank that this one pairs with in the round whose pairs begin at rank `first`; itself: it is left over."""
    number = (rank - first) % size
    other = number ^ 1
    return rank if other >= size else (other + first) % size


def _pair_speed(group: Any, pair: list[int], *, size_mb: float, device: str) -> tuple[float, str | None]:
    """(gigabytes a second, what is wrong). Each adds its rank plus a ramp, so that a lost or shifted part shows."""
    count = max(1, int(size_mb * 1e6 / 4))
    ramp = torch.arange(count, device=device, dtype=torch.float32) % 1024
    expected = 2 * ramp + sum(pair)
    best, num_wrong = float("inf"), 0
    for _ in range(_REPEATS):  # all of them, also after a wrong sum, which the other of the two may not have
        tensor = ramp + dist.get_rank()
        dist.barrier(group)
        started = time.perf_counter()
        dist.all_reduce(tensor, group=group)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
        num_wrong = max(num_wrong, int((tensor != expected).sum()))
    return 4e-9 * count / best, f"{num_wrong} of {count} sums are wrong" if num_wrong else None
