"""DeepSpeed's ZeRO, the second engine: what the data-parallel ranks share, and what lies in the CPU's memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class DeepSpeedConfig:
    """ZeRO (arXiv 1910.02054) and its offload (arXiv 2101.06840). Read with engine=deepspeed only."""

    zero_stage: Literal[1, 2, 3] = 2
    """What the data-parallel ranks share: 1 the optimizer's state, 2 the gradients too, 3 the weights too."""
    offload_optimizer: bool = False
    """Keep the optimizer's state and fp32 weights in the CPU's memory, and update there."""
    offload_param: bool = False
    """Keep the shared weights in the CPU's memory too; needs zero_stage 3."""

    def __post_init__(self) -> None:
        if self.offload_param and self.zero_stage != 3:
            rule, remedy = "needs zero_stage 3", "give deepspeed.zero_stage=3, or offload_param=false"
            raise_faults([Fault(field="offload_param", value=True, rule=rule, remedy=remedy, others=("zero_stage",))])
