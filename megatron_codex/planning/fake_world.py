"""One process that plays one rank of a run of any size: no other rank exists, no tensor has memory.

In: a rank and the number of ranks. Out: a block in which torch.distributed, and with it megatron-core, believes them.
Tensors are fake (they have shapes, not values), process groups answer at once, random states are not touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from megatron_codex.platform.megatron_core import clip_grads


@contextmanager
def fake_world(*, rank: int, world_size: int) -> Iterator[None]:
    """Play `rank` of `world_size` for the length of the block. No process group may exist yet."""
    assert not dist.is_initialized(), "a dry run plays a rank of its own: it cannot be one of a real run"
    state = torch.get_rng_state()
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        with (
            warnings.catch_warnings(),  # megatron-core's and torch's own, of what no user can change
            patch.object(dist, "all_gather_object", _everyone_has_the_same),
            # The generators' states are real tensors and may not become fake ones.
            patch.object(torch, "get_rng_state", lambda: state),
            patch.object(torch, "set_rng_state", lambda state: None),
            patch.object(nn.Module, "bfloat16", _cast_to_bfloat16),
            patch.object(clip_grads, "l2_norm_impl", _norm),
            FakeTensorMode(allow_non_fake_inputs=True),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        dist.destroy_process_group()
        torch.set_rng_state(state)


def _everyone_has_the_same(object_list: list[Any], obj: Any, group: Any = None) -> None:
    object_list[:] = [obj] * len(object_list)


def _cast_to_bfloat16(module: nn.Module) -> nn.Module:
    """torch's own swaps a fake parameter with its copy, which the fake mode's memory of the parameter forbids."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.bfloat16)
    return module


def _norm(chunk_size: int, overflow: Tensor, tensor_lists: list[list[Tensor]], *args: object) -> tuple[Tensor, None]:
    """megatron-core's own reads each tensor's norm into a list of numbers."""
    return torch.stack([torch.norm(tensor) for tensor in tensor_lists[0]]).norm()[None], None
