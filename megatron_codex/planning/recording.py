"""What a rank does, written down: tensors that live, collectives, floating-point operations.

In: the torch calls made while a Recorder is active, on fake tensors (planning/fake_world.py) or on real ones. Out: live
and peak bytes by kind, one entry for each sort of collective, one for each sort of operation. The same recorder watches
a dry run and a real CPU rank, so that tests can compare the two.

A storage counts from the call that made it until the last tensor on it is gone, as in an allocator. Scratch space
inside one call (a kernel's workspace) is not seen.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import FakeWork
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from megatron_codex.planning.operations import Operation, operation

Kind = Literal["weights", "gradients", "optimizer", "activations", "buffers"]
KINDS: tuple[Kind, ...] = ("weights", "gradients", "optimizer", "activations", "buffers")
"""activations: born in a forward pass. buffers: everything else that is no weight, gradient or optimizer state:
gradients of activations, recomputed activations, what is received, batches."""

Phase = Literal["other", "forward", "backward", "optimizer"]
PASSES: tuple[Phase, ...] = ("forward", "backward")

_GROUPS = {
    "TENSOR_MODEL_PARALLEL_GROUP": "tensor",
    "PIPELINE_MODEL_PARALLEL_GROUP": "pipeline",
    "DATA_PARALLEL_GROUP": "data",
    "DATA_PARALLEL_GROUP_WITH_CP": "data",
    "INTRA_PARTIAL_DATA_PARALLEL_GROUP_WITH_CP": "data",
    "EMBEDDING_GROUP": "embedding",
    "MODEL_PARALLEL_GROUP": "model",
    "INTRA_DISTRIBUTED_OPTIMIZER_INSTANCE_GROUP": "world",
    "default_pg": "world",
}
"""megatron-core's description of a process group -> the name it has here."""

_COLLECTIVES = {
    "allreduce_": "all-reduce",
    "_allgather_base_": "all-gather",
    "allgather_": "all-gather",
    "allgather_into_tensor_coalesced_": "all-gather",
    "_reduce_scatter_base_": "reduce-scatter",
    "reduce_scatter_tensor_coalesced_": "reduce-scatter",
    "broadcast_": "broadcast",
    "send": "send",
    "recv_": "receive",
}
_SMALL = 8
"""Elements of a tensor of counts (a batch's tokens, for instance), which is kept real in a dry run."""


@dataclass(frozen=True, order=True)
class Collective:
    """One sort of collective: same group, same operation, same size."""

    phase: Phase
    group: str
    """tensor, pipeline, data, embedding, model or world."""
    operation: str
    """all-reduce, all-gather, reduce-scatter, broadcast, send or receive."""
    ranks: tuple[int, ...]
    """Global ranks of the group; of a send or receive, this rank and the other."""
    tensor_bytes: int
    """Bytes of the whole tensor: what is gathered, or what is scattered."""

    @property
    def wire_bytes(self) -> float:
        """Bytes that this rank sends in a ring: (n - 1) / n of the tensor, twice that for an all-reduce."""
        size = len(self.ranks)
        if self.operation == "send":
            return self.tensor_bytes
        if self.operation == "receive" or size == 1:
            return 0
        return self.tensor_bytes * (size - 1) / size * (2 if self.operation == "all-reduce" else 1)


class Recorder(TorchDispatchMode):
    """Records while it is active (`with recorder:`). In a dry run collectives are not called: nobody would answer."""

    def __init__(self, *, dry_run: bool) -> None:
        super().__init__()
        self.phase: Phase = "other"
        self.collectives: Counter[Collective] = Counter()
        self.operations: Counter[tuple[Phase, Operation]] = Counter()
        self.live_bytes: Counter[Kind] = Counter()
        self.peak_bytes: Counter[Kind] = Counter()
        self._total = self._peak = self._recent = 0
        self._dry_run = dry_run
        self._storages: dict[int, tuple[weakref.ref[Any], int, Kind]] = {}

    @property
    def total_bytes(self) -> int:
        """Bytes alive now."""
        return self._total

    def restart(self) -> None:
        """Forget what was counted; the peak starts again from what is alive."""
        self.collectives.clear()
        self.operations.clear()
        self._peak, self.peak_bytes = self._total, self.live_bytes.copy()

    def watch(self) -> Callable[[], int]:
        """Watch the bytes alive from now on; the answer, called later, is the most that was alive since."""
        earlier, self._recent = self._recent, self._total

        def highest() -> int:
            recent, self._recent = self._recent, max(earlier, self._recent)
            return recent

        return highest

    def label(self, tensors: Iterable[Tensor], kind: Kind) -> None:
        """Say what the storages of these tensors are."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._add(tensor, kind)
            reference, size, earlier = self._storages[id(storage)]
            self._storages[id(storage)] = (reference, size, kind)
            self.live_bytes[earlier] -= size
            self.live_bytes[kind] += size

    def label_all(self, kind: Kind, other: Kind) -> None:
        """Call everything alive of one kind by another."""
        for key, (reference, size, found) in self._storages.items():
            if found == kind:
                self._storages[key] = (reference, size, other)
                self.live_bytes[kind] -= size
                self.live_bytes[other] += size

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "c10d":
            self._record_collective(func, args)
            return _finished(func, args) if self._dry_run else func(*args, **kwargs)
        if self._dry_run:
            if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
                return 1 if not args[0].is_floating_point() else 1.0  # a value that no run was made to know
            if _stays_real(args):
                with unset_fake_temporarily():
                    return func(*args, **kwargs)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            self._add(tensor, "activations" if self.phase == "forward" else "buffers")
        self.operations[self.phase, operation(func, args, kwargs, out)] += 1
        return out

    def _add(self, tensor: Tensor, kind: Kind) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._storages:
            return
        size = storage.nbytes()
        self._storages[key] = (weakref.ref(storage, lambda _: self._drop(key)), size, kind)
        self.live_bytes[kind] += size
        self._total += size
        self._recent = max(self._recent, self._total)
        if self._total > self._peak:
            self._peak, self.peak_bytes = self._total, self.live_bytes.copy()

    def _drop(self, key: int) -> None:
        _, size, kind = self._storages.pop(key)
        self.live_bytes[kind] -= size
        self._total -= size

    def _record_collective(self, func: Any, args: tuple[Any, ...]) -> None:
        name = func.name().removeprefix("c10d::")
        if name in ("barrier", "monitored_barrier_"):
            return
        group = next(dist.ProcessGroup.unbox(arg) for arg in args if isinstance(arg, torch.ScriptObject))
        ranks = tuple(dist.get_process_group_ranks(group))
        label = _GROUPS.get(group.group_desc, group.group_desc.lower())
        if name in ("send", "recv_"):
            # Of the pipeline, whatever the group: between two stages megatron-core sends one way over the world's.
            label, ranks = "pipeline", tuple(sorted((dist.get_rank(), ranks[args[2]])))
        sizes = (sum(t.numel() * t.element_size() for t in _tensors(arg)) for arg in args)
        self.collectives[
            Collective(
                phase=self.phase,
                group=label,
                operation=_COLLECTIVES.get(name, name),
                ranks=ranks,
                tensor_bytes=max(sizes),
            )
        ] += 1


def _stays_real(args: tuple[Any, ...]) -> bool:
    """Whether an operation reads small real tensors only: counts, whose values steer the step."""
    tensors = list(_tensors(args))
    return bool(tensors) and not any(isinstance(t, FakeTensor) or t.numel() > _SMALL for t in tensors)


def _finished(func: Any, args: tuple[Any, ...]) -> Any:
    """What a collective returns when its work is done at once: its first argument, and the work."""
    work = FakeWork().boxed()
    return work if len(func._schema.returns) == 1 else (args[0], work)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
