"""How a model is laid out over ranks: tensor, sequence, pipeline and data parallelism, optimizer shards, recomputation.

What gave wrong results or a dead-lock with megatron-core 0.16.1 is not offered: freeing pipeline outputs while they are
still being sent, and batched sends in an interleaved pipeline (model/transformer_config.py sets both).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from megatron_codex.errors import Fault, raise_faults

_STAGE_LAYERS = ("num_layers_in_first_pipeline_stage", "num_layers_in_last_pipeline_stage")


@dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """The layout. What is left of the ranks after tensor and pipeline parallelism is data parallelism."""

    tensor_model_parallel_size: int = 1
    """Ranks that share each layer's matrices."""
    pipeline_model_parallel_size: int = 1
    """Ranks that share the layers, as consecutive stages."""
    virtual_pipeline_model_parallel_size: int | None = None
    """Chunks of layers a pipeline rank holds (interleaved schedule); none: one."""
    num_layers_in_first_pipeline_stage: int | None = None
    """Layers of the first stage where stages are not alike; none: its even share."""
    num_layers_in_last_pipeline_stage: int | None = None
    """Layers of the last stage, which also computes the loss, where stages are not alike; none: its even share."""
    context_parallel_size: int = 1
    """Ranks that share the sequence in attention: 1 only (megatron-core 0.16.1 needs Transformer Engine for more)."""
    sequence_parallel: bool = False
    """Share layer norms and dropout over the tensor-parallel ranks too, along the sequence."""
    use_distributed_optimizer: bool = False
    """Share the optimizer's state over the data-parallel ranks."""
    overlap_grad_reduce: bool = False
    """Reduce gradients over the data-parallel ranks while the backward pass goes on."""
    overlap_param_gather: bool = False
    """Gather the distributed optimizer's parameters while the next forward pass goes on."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Activations that are computed again in the backward pass instead of kept: none, attention, or whole layers."""

    def __post_init__(self) -> None:
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy="1 switches it off")
            for name in ("tensor_model_parallel_size", "pipeline_model_parallel_size")
            if getattr(self, name) < 1
        ]
        faults += [
            Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy="leave it out")
            for name in ("virtual_pipeline_model_parallel_size", *_STAGE_LAYERS)
            if getattr(self, name) is not None and getattr(self, name) < 1
        ]
        if self.context_parallel_size != 1:
            rule = (
                "must be 1: in megatron-core 0.16.1 only Transformer Engine's attention shares a sequence over ranks, "
                "and layers here are plain torch's, on CPU and GPU alike"
            )
            remedy = "give sequence_parallel or recompute for long sequences"
            faults.append(
                Fault(field="context_parallel_size", value=self.context_parallel_size, rule=rule, remedy=remedy)
            )
        for field, other, remedy in self._broken_needs():
            rule = f"needs {other}"
            faults.append(Fault(field=field, value=getattr(self, field), rule=rule, remedy=remedy, others=(other,)))
        raise_faults(faults)

    def _broken_needs(self) -> list[tuple[str, str, str]]:
        """(field, the field it needs, remedy) of each unmet need."""
        broken = []
        if self.sequence_parallel and self.tensor_model_parallel_size == 1:
            remedy = "give tensor_model_parallel_size of 2 or more, or sequence_parallel=false"
            broken.append(("sequence_parallel", "tensor_model_parallel_size", remedy))
        if (self.virtual_pipeline_model_parallel_size or 1) > 1 and self.pipeline_model_parallel_size == 1:
            remedy = "give pipeline_model_parallel_size of 2 or more, or leave the virtual size out"
            broken.append(("virtual_pipeline_model_parallel_size", "pipeline_model_parallel_size", remedy))
        for field in _STAGE_LAYERS:
            if getattr(self, field) is not None and self.pipeline_model_parallel_size == 1:
                remedy = "give pipeline_model_parallel_size of 2 or more, or leave it out"
                broken.append((field, "pipeline_model_parallel_size", remedy))
        if self.overlap_param_gather:
            remedy = "switch it on, or overlap_param_gather off"
            needs = ("use_distributed_optimizer", "overlap_grad_reduce")
            broken += [("overlap_param_gather", need, remedy) for need in needs if not getattr(self, need)]
        return broken

    @property
    def model_parallel_size(self) -> int:
        """Ranks that hold one copy of the model together."""
        return self.tensor_model_parallel_size * self.pipeline_model_parallel_size

    @property
    def num_chunks(self) -> int:
        """Chunks of layers a pipeline rank holds."""
        return self.virtual_pipeline_model_parallel_size or 1

    def layers_of_stages(self, num_layers: int) -> tuple[int, ...] | None:
        """Layers of each pipeline stage, first to last; None where they cannot be shared out so."""
        size, chunks = self.pipeline_model_parallel_size, self.num_chunks
        first, last = self.num_layers_in_first_pipeline_stage, self.num_layers_in_last_pipeline_stage
        num_alike = size - (first is not None) - (last is not None)
        left = num_layers - (first or 0) - (last or 0)
        alike = left // num_alike if num_alike else 0
        if alike * num_alike != left or (num_alike and alike < 1):
            return None
        stages = [*([first] if first else []), *[alike] * num_alike, *([last] if last else [])]
        return tuple(stages) if all(layers % chunks == 0 for layers in stages) else None

    @property
    def interleaved(self) -> bool:
        """Whether the pipeline schedule is the interleaved one."""
        return self.num_chunks > 1
