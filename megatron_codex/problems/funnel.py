"""Counts through the stages of a funnel: how many came this far, how many fell out where, and why.

In: a reach() or drop() for each item. Out: JSON that a reader can add up: count of a stage = count of the one before
minus what was dropped at it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from megatron_codex.files import atomic_file


class Funnel:
    """stages: in order. An item reaches a stage, or is dropped at it with a short reason."""

    def __init__(self, stages: tuple[str, ...]) -> None:
        self.stages = stages
        self.counts = dict.fromkeys(stages, 0)
        self.reasons: dict[str, Counter[str]] = {stage: Counter() for stage in stages}

    def reach(self, stage: str, number: int = 1) -> None:
        self.counts[stage] += number

    def drop(self, stage: str, reason: str) -> None:
        """Something did not reach `stage`."""
        self.reasons[stage][reason] += 1

    def to_json(self) -> dict[str, Any]:
        return {"counts": self.counts, "dropped": {stage: dict(each) for stage, each in self.reasons.items() if each}}

    @classmethod
    def total(cls, stages: tuple[str, ...], funnels: Iterable[Funnel]) -> Funnel:
        """The sum of several funnels."""
        result = cls(stages)
        for funnel in funnels:
            for stage in stages:
                result.counts[stage] += funnel.counts[stage]
                result.reasons[stage].update(funnel.reasons[stage])
        return result

    def summary(self) -> str:
        """One line: each stage with its count."""
        return " -> ".join(f"{stage} {self.counts[stage]}" for stage in self.stages)


def write_funnel(path: Path, content: Mapping[str, Any]) -> None:
    """Write funnel.json, atomically."""
    with atomic_file(path, "w") as handle:
        json.dump({"format": "megatron_codex/funnel/1", **content}, handle, indent=2)
        handle.write("\n")
