"""Configuration of tools/plan.py: a training configuration, and what is asked about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from megatron_codex.config.training import TrainConfig
from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class PlannedTrainingConfig(TrainingConfig):
    """The run; a plan writes nothing into its output directory."""

    output_dir: Path = Path()
    """Not used by a plan."""


@dataclass(frozen=True, kw_only=True)
class PlanConfig(TrainConfig):
    """What a layout costs before it is run: memory, communication, bubble, days. Reads no data, needs no GPU."""

    training: PlannedTrainingConfig
    """The run."""
    world_size: int
    """Devices of the run."""
    hardware: str = "h100-80"
    """a100-80, h100-80, h200, b200, this-machine (tools/measure_hardware.py), or a YAML file."""
    rank: int | None = None
    """Only this rank is played, and only its memory, communication and work are told; none: one of each stage."""
    tokens: float | None = None
    """Tokens of the whole run, for days and device hours; none: those of training.train_iters."""
    search: bool = False
    """Rank the valid layouts of this number of devices instead of planning the given one."""
    memory_gb: float | None = None
    """Memory of a device in GB, in place of the hardware's."""
    top: int = 10
    """search: layouts to show; the first three are then dry-run."""
    json: bool = False
    """Print one JSON object instead of tables."""
    html: Path | None = None
    """Write the pipeline's timeline and each stage's memory over a step as a self-contained page."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy="give 1 or more")
            for name in ("world_size", "top")
            if getattr(self, name) < 1
        ]
        faults += [
            Fault(field=name, value=value, rule="must be positive", remedy="leave it out for the default")
            for name in ("tokens", "memory_gb")
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf")
        ]
        if self.rank is not None and not 0 <= self.rank < max(1, self.world_size):
            rule, remedy = f"must be in [0, world_size = {self.world_size})", "ranks are counted from 0"
            faults.append(Fault(field="rank", value=self.rank, rule=rule, remedy=remedy, others=("world_size",)))
        for name, other, rule in self._exclusive():
            value, remedy = getattr(self, name), "leave one of the two out"
            faults.append(Fault(field=name, value=value, rule=rule, remedy=remedy, others=(other,)))
        raise_faults(faults)
        super().__post_init__()

    def _exclusive(self) -> list[tuple[str, str, str]]:
        """(field, field that forbids it, rule) of what may not be asked together."""
        found = [("rank", "search", "tells of one layout, search of many")] if self.rank is not None else []
        found += [("html", "search", "shows one layout, search is of many")] if self.html else []
        found = found if self.search else []
        if self.rank is not None and self.html:
            found.append(("html", "rank", "shows all stages, rank is one of one stage"))
        return found

    def _data_faults(self) -> list[Fault]:
        return []  # a plan reads no data
