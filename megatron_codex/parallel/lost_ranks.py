"""Which rank died: said by one of those that are left, instead of a broken connection's traceback.

In: a run's ranks, joined through a store of key-value pairs (torchrun's, or rank 0's). Out: a LostRankError that names
the ranks that do not answer. Each rank has a thread that answers a roll call, so a rank that waits in a collective
answers as well; the roll is called by a rank whose collective has failed. Run here with gloo only; NCCL reports a lost
rank by a time-out of its own, after which the same roll call names it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from megatron_codex.errors import LostRankError

ANSWER_S = 10.0
"""A rank that does not answer in this time is lost."""

_CALL = "megatron_codex/roll_call"
_LISTEN_S = 1.0
_BROKEN = ("Connection", "peer", "Broken pipe", "imed out", "NCCL", "store")
"""One of these is in the message of every error that a lost rank causes in a collective."""


@contextmanager
def naming_lost_ranks(store: Any) -> Iterator[None]:
    """Within the block, an error of a collective that a lost rank caused is raised as a LostRankError.

    store: the one that joined the ranks. Other errors pass unchanged.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    ended = threading.Event()
    listener = threading.Thread(target=_answer, args=(store.clone(), rank, ended), daemon=True)
    listener.start()
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in _BROKEN):
            raise
        lost = _missing(store, world_size)
        if not lost:
            raise
        left = [other for other in range(world_size) if other not in lost]
        names = f"rank{'s' * (len(lost) > 1)} {', '.join(map(str, lost))} of {world_size}"
        raise LostRankError(
            f"{names} died or ended ({str(error).splitlines()[0][:80]}); the run stops and its last checkpoint stays; "
            f"see the log and the memory of {'these ranks' if len(lost) > 1 else 'that rank'} and start again",
            speaker=min(left),
        ) from error
    finally:
        ended.set()
        listener.join()


def _answer(store: Any, rank: int, ended: threading.Event) -> None:
    """Listen for a roll call until the block ends. Not by waiting in the store: that cannot be given up quietly."""
    try:
        while not store.check([_CALL]):
            if ended.wait(_LISTEN_S):
                return
        store.set(f"{_CALL}/{rank}", "here")
    except RuntimeError:  # the store has ended, and with it the run
        return


def _missing(store: Any, world_size: int) -> list[int]:
    """Ranks that do not answer a roll call."""
    end = time.monotonic() + ANSWER_S
    missing = list(range(world_size))
    try:
        store.set(_CALL, "")
        while missing and time.monotonic() < end:
            time.sleep(_LISTEN_S / 10)
            missing = [rank for rank in missing if not store.check([f"{_CALL}/{rank}"])]
    except dist.DistNetworkError:
        return [0]  # which holds the store
    return missing
