"""Which ranks are slow: seconds of a step that each rank spends outside collectives, compared.

In: each step's time and the time in collectives (parallel/collective_calls.py). Out, every training.log_interval steps:
the median and the slowest of all ranks, and those above training.straggler_factor times the median of their peers. In
collectives every rank waits for the slowest, so the whole step's time tells nobody from the others. Peers are the ranks
of the same pipeline stage, which have the same work; where a stage has one rank, all ranks are.
"""

from __future__ import annotations

import logging
from statistics import median_low
from typing import Any

import torch
import torch.distributed as dist

from megatron_codex.heartbeat import this_node
from megatron_codex.parallel.groups import Layout

_logger = logging.getLogger(__name__)


class StepTimes:
    """The seconds outside collectives of the steps since the last comparison."""

    def __init__(self, layout: Layout, *, device: str) -> None:
        """Collective."""
        self._layout, self._device = layout, device
        self._seconds: list[float] = []
        mine = (layout.pp_rank, this_node())
        places: list[Any] = [mine]
        if layout.world_size > 1:
            places = [None] * layout.world_size
            dist.all_gather_object(places, mine)
        self._stages, self._nodes = zip(*places, strict=True)

    def add(self, seconds: float) -> None:
        """Of one step."""
        self._seconds.append(seconds)

    def compare(self, factor: float | None) -> dict[str, Any]:
        """What metrics.jsonl says of the steps since the last comparison. Collective.

        factor: of their peers' median, above which ranks are named in the log too; None: none is.
        """
        mean = sum(self._seconds) / len(self._seconds)
        self._seconds.clear()
        means = [mean]
        if self._layout.world_size > 1:
            gathered = torch.zeros(self._layout.world_size, dtype=torch.float64, device=self._device)
            own = torch.tensor([mean], dtype=torch.float64, device=self._device)
            dist.all_gather_into_tensor(gathered, own)
            means = gathered.tolist()
        found = stragglers(means, self._stages, factor)
        for rank, peers_s in found:
            _logger.info(
                "rank %d (%s) is slow: %.3f s of a step outside collectives, its peers %.3f s (median)",
                *(rank, self._nodes[rank], means[rank], peers_s),
            )
        slowest = max(range(len(means)), key=means.__getitem__)
        line: dict[str, Any] = {
            "compute_median_s": median_low(means),
            "compute_slowest_s": means[slowest],
            "slowest_rank": slowest,
        }
        if found:
            line["stragglers"] = [
                {"rank": rank, "node": self._nodes[rank], "compute_s": means[rank], "peers_s": peers_s}
                for rank, peers_s in found
            ]
        return line


def stragglers(seconds: list[float], stages: tuple[int, ...], factor: float | None) -> list[tuple[int, float]]:
    """(rank, its peers' median) of each rank that is slower than `factor` times that; the rank itself is no peer."""
    found = []
    for rank, own in enumerate(seconds):
        others = [other for other in range(len(seconds)) if other != rank]
        peers = [other for other in others if stages[other] == stages[rank]] or others
        if factor is not None and peers:
            usual = median_low([seconds[peer] for peer in peers])
            if own > factor * usual:
                found.append((rank, usual))
    return found
