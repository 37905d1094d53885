"""Configuration of tools/preflight.py: a training configuration, and what its nodes and network must be like."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from megatron_codex.config.bounds import below
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class PreflightSettings:
    """What nodes, network and disk must be like."""

    timeout_s: float = 120.0
    """Seconds within which every rank must answer, and the network be measured; after them who is missing is bad."""
    connect_timeout_s: float = 10.0
    """Seconds within which a node must accept another one's connection."""
    max_clock_skew_s: float = 2.0
    """Seconds by which a node's clock may differ from the others': logs, credentials and file times depend on it."""
    disk_test_mb: float = 64.0
    """Megabytes that each node writes to the checkpoints' directory, and takes away again; 0: none."""
    min_disk_mb_s: float = 0.0
    """Megabytes a second at which a node must write there, at least; 0: any speed."""
    link_test_mb: float = 32.0
    """Megabytes that each pair of neighbour ranks adds up; 0: the network is only connected, not measured."""
    min_link_gb_s: float = 0.0
    """Gigabytes a second that a pair of neighbours must reach, counted as a tensor's bytes over the time of its
    all-reduce; 0: any speed."""

    def __post_init__(self) -> None:
        faults = below(self, 0, "disk_test_mb", "min_disk_mb_s", "link_test_mb", "min_link_gb_s")
        for name in ("timeout_s", "connect_timeout_s", "max_clock_skew_s"):
            if not 0 < getattr(self, name) < math.inf:
                rule, remedy = "must be a positive number of seconds", "see --help"
                faults.append(Fault(field=name, value=getattr(self, name), rule=rule, remedy=remedy))
        raise_faults(faults)


@dataclass(frozen=True, kw_only=True)
class PreflightConfig(TrainConfig):
    """Check the nodes of a training job before it starts: one task a rank, as training has them."""

    preflight: PreflightSettings = field(default_factory=PreflightSettings)
    """What is asked of them."""
