"""Process groups: joined ranks (parallel/joined.py) split into tensor-, pipeline- and data-parallel groups.

In: a layout. Out: a Layout, this rank's place in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch.distributed as dist

from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.platform.megatron_core import parallel_state


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The layout and this rank's place in it."""

    rank: int
    world_size: int
    tp_rank: int
    tp_size: int
    pp_rank: int
    pp_size: int
    dp_rank: int
    dp_size: int
    dp_group: dist.ProcessGroup

    @property
    def is_last_stage(self) -> bool:
        """Whether this rank holds the output layer, and so the loss."""
        return self.pp_rank == self.pp_size - 1


@contextmanager
def model_parallel(parallel: ParallelConfig) -> Iterator[Layout]:
    """Make megatron-core's process groups for this layout and take them down at the end of the block.

    A gloo group has three threads. They end when the last reference to the group does, and if they do not on all ranks,
    those left poll closed connections: who runs several layouts in a process lets go of each one's model.
    """
    before = set(dist.distributed_c10d._world.pg_map)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=parallel.tensor_model_parallel_size,
        pipeline_model_parallel_size=parallel.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=parallel.num_chunks if parallel.interleaved else None,
        create_gloo_process_groups=False,
    )
    try:
        yield Layout(
            rank=dist.get_rank(),
            world_size=dist.get_world_size(),
            tp_rank=parallel_state.get_tensor_model_parallel_rank(),
            tp_size=parallel.tensor_model_parallel_size,
            pp_rank=parallel_state.get_pipeline_model_parallel_rank(),
            pp_size=parallel.pipeline_model_parallel_size,
            dp_rank=parallel_state.get_data_parallel_rank(),
            dp_size=parallel_state.get_data_parallel_world_size(),
            dp_group=parallel_state.get_data_parallel_group(),
        )
    finally:
        parallel_state.destroy_model_parallel()
        for group in set(dist.distributed_c10d._world.pg_map) - before:
            dist.destroy_process_group(group)
