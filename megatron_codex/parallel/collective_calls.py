"""Which collective a rank is in, how many it has begun in each group, and how long it has been in them.

In: the calls that torch.distributed's functions make on process groups, whoever made them. Out: `current`, `counts`
and `seconds`, which other threads may read. A rank that waits is in a collective; one that computes, reads or writes is
not.

Seconds are those that the call holds this thread. On gloo that is the collective and the wait for others; NCCL's calls
return before their kernels have run, so there they say nothing (not run here).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch.distributed as dist
from torch._C._distributed_c10d import ProcessGroup, Work

_CALLS = (
    *("allreduce", "allreduce_coalesced", "broadcast", "reduce", "barrier", "monitored_barrier"),
    *("allgather", "_allgather_base", "allgather_coalesced", "allgather_into_tensor_coalesced", "gather"),
    *("reduce_scatter", "_reduce_scatter_base", "reduce_scatter_tensor_coalesced", "scatter"),
    *("alltoall", "alltoall_base", "send", "recv", "recv_anysource", "_end_coalescing"),
)
"""Methods of a process group under which all collectives of torch.distributed go. Names are torch's."""

_MOST_NAMED = 8
"""Ranks of a group that its name lists; a larger one is named by its first, last and number."""


@dataclass(frozen=True)
class Call:
    """A collective that a rank has begun."""

    name: str
    """torch's, without underscores: allreduce, allgather base, send, ..."""
    ranks: str
    """The group's ranks."""
    number: int
    """How many this rank has begun in this group, this one included."""


class CollectiveCalls:
    """Watches this process's collectives within its block. A context manager; one at a time."""

    def __init__(self) -> None:
        self.current: Call | None = None
        """The collective that this rank is in; None: in none."""
        self.counts: dict[str, int] = {}
        """A group's ranks -> collectives begun in it."""
        self.seconds = 0.0
        """In collectives, since the beginning of the block."""
        self._last: Call | None = None
        self._names: dict[str, str] = {}
        self._originals: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Self:
        # Where all ways meet: megatron-core keeps some of torch.distributed's functions under names of its own.
        for name in _CALLS:
            original = getattr(ProcessGroup, name)
            self._replace(ProcessGroup, name, self._begun(name.replace("_", " ").strip(), original))
        self._replace(Work, "wait", self._waited(Work.wait))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for owner, name, original in self._originals:
            setattr(owner, name, original)

    def _replace(self, owner: type, name: str, function: Callable[..., Any]) -> None:
        self._originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, function)

    def _begun(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(group: Any, *args: Any, **kwargs: Any) -> Any:
            ranks = self._ranks(group)
            number = self.counts.get(ranks, 0) + 1
            self.counts[ranks] = number
            self._last = Call(name, ranks, number)
            return self._within(original, group, *args, **kwargs)

        return call

    def _waited(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._within(original, *args, **kwargs)

    def _within(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.current, started = self._last, time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            self.current = None
            self.seconds += time.perf_counter() - started

    def _ranks(self, group: Any) -> str:
        name: str = group.group_name
        if name not in self._names:
            ranks = dist.get_process_group_ranks(group)
            few = len(ranks) <= _MOST_NAMED
            self._names[name] = (
                ",".join(map(str, ranks)) if few else f"{ranks[0]},{ranks[1]},..,{ranks[-1]} ({len(ranks)})"
            )
        return self._names[name]
