"""The ranks that hold one copy of the model together: their places, and all that they say to each other.

In: joined ranks (parallel/joined.py) and how many share each layer (tensor parallelism) and the layers (pipeline
parallelism). Out: ModelRanks. Tensor-parallel ranks are neighbours, then come the stages, then the copies of the model:
a copy is on as few nodes as possible. Every rank of a copy decodes the same batch and keeps the same books; the first
rank of the last stage draws the tokens and tells the others. gloo on CPUs; nccl on GPUs has not been run here.

Shapes: N rows, V vocabulary, R this rank's rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from megatron_codex.config.sampling import DecodingParallelConfig
from megatron_codex.parallel.joined import joined_ranks


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelRanks:
    """This rank's place among those of its copy of the model. The default is the only rank."""

    tp_rank: int = 0
    tp_size: int = 1
    pp_rank: int = 0
    pp_size: int = 1
    first: int = 0
    """Global rank of the copy's first rank, which reads and writes files for all."""
    tp_group: dist.ProcessGroup | None = None
    """Of this stage."""
    model_group: dist.ProcessGroup | None = None
    """Of the whole copy."""

    @property
    def size(self) -> int:
        """Ranks of the copy."""
        return self.tp_size * self.pp_size

    @property
    def is_first(self) -> bool:
        """Whether this rank reads and writes files for the copy."""
        return self.tp_rank == self.pp_rank == 0

    @property
    def is_first_stage(self) -> bool:
        return self.pp_rank == 0

    @property
    def is_last_stage(self) -> bool:
        return self.pp_rank == self.pp_size - 1

    def sum_parts(self, x: Tensor) -> Tensor:
        """The sum over the tensor-parallel ranks, added up in the order of the ranks.

        (all_reduce adds in an order that depends on the tensor's size, and so on the batch.)
        """
        if self.tp_size == 1:
            return x
        total, *others = self._parts(x)
        for other in others:
            total += other
        return total

    def whole_vocabulary(self, logits_NR: Tensor) -> Tensor:
        """The tensor-parallel ranks' logits side by side: [N, R x tp_size]."""
        return logits_NR if self.tp_size == 1 else torch.cat(self._parts(logits_NR), dim=1)

    def receive_hidden(self, hidden: Tensor) -> Tensor:
        """What the stage before sends, written into `hidden`."""
        dist.recv(hidden, self._rank_of(self.pp_rank - 1, self.tp_rank), group=self.model_group)
        return hidden

    def send_hidden(self, hidden: Tensor) -> None:
        """Hand hidden states on to the next stage."""
        dist.send(hidden.contiguous(), self._rank_of(self.pp_rank + 1, self.tp_rank), group=self.model_group)

    @property
    def draws(self) -> bool:
        """Whether this rank draws the tokens."""
        return self.is_last_stage and self.tp_rank == 0

    def share_draw(
        self, drawn: tuple[Tensor, Tensor] | None, *, num_rows: int, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """(tokens int64 [N], log p float32 [N]) of the rank that draws, on all; the others give None."""
        if self.size == 1:
            assert drawn is not None
            return drawn
        both_2N = torch.empty(2, num_rows, dtype=torch.float64, device=device)
        if drawn is not None:
            both_2N[0], both_2N[1] = drawn
        dist.broadcast(both_2N, self._rank_of(self.pp_size - 1, 0), group=self.model_group)
        return both_2N[0].long(), both_2N[1].float()

    def tell(self, numbers: list[int] | Exception) -> None:
        """Give the copy's other ranks the first one's work, or the error that keeps it from any."""
        dist.broadcast_object_list([numbers], self.first, group=self.model_group)

    def hear(self) -> list[int]:
        """What the first rank tells. Raises: its error."""
        said: list[Any] = [None]
        dist.broadcast_object_list(said, self.first, group=self.model_group)
        if isinstance(said[0], Exception):
            raise said[0]
        numbers: list[int] = said[0]
        return numbers

    def _parts(self, x: Tensor) -> list[Tensor]:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(self.tp_size)]
        dist.all_gather(parts, x, group=self.tp_group)
        return parts

    def _rank_of(self, pp_rank: int, tp_rank: int) -> int:
        return self.first + pp_rank * self.tp_size + tp_rank


ALONE = ModelRanks()


@contextmanager
def model_ranks(parallel: DecodingParallelConfig, *, cuda: bool) -> Iterator[ModelRanks]:
    """Join the ranks, for the length of the block, into copies of the model.

    Their number is a multiple of the ranks of a copy (SamplingConfig says otherwise).
    """
    tp_size, pp_size = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    size = parallel.model_parallel_size
    if size == 1:
        yield ALONE
        return
    with joined_ranks(cuda=cuda):
        rank = dist.get_rank()
        place = rank % size
        starts = range(0, dist.get_world_size(), tp_size)
        made: list[dist.ProcessGroup] = []
        model_group = _own_group([range(start, start + size) for start in starts[::pp_size]], rank, made)
        tp_group = _own_group([range(start, start + tp_size) for start in starts], rank, made)
        try:
            yield ModelRanks(
                tp_rank=place % tp_size,
                tp_size=tp_size,
                pp_rank=place // tp_size,
                pp_size=pp_size,
                first=rank - place,
                tp_group=tp_group,
                model_group=model_group,
            )
        finally:
            for group in made:
                dist.destroy_process_group(group)


def _own_group(members: Sequence[Sequence[int]], rank: int, made: list[dist.ProcessGroup]) -> dist.ProcessGroup:
    """Make a group of each of these lists, as every rank must; returns the one that this rank is in."""
    groups = [dist.new_group(list(ranks)) for ranks in members]
    number = next(number for number, ranks in enumerate(members) if rank in ranks)
    made.append(groups[number])
    return made[-1]
