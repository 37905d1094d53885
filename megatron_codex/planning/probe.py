"""What one layer costs, and what the ends of the model cost, from dry runs of models of one and two layers.

In: a configuration. Out: a Probe, from which the cost of any number of layers on any stage is put together without
another dry run. A search over hundreds of layouts needs one Probe for each tensor-parallel size and kind of
recomputation; planning/search.py then dry-runs the best layouts in full.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from megatron_codex.config.training import TrainConfig
from megatron_codex.parallel.groups import model_parallel
from megatron_codex.planning.fake_world import fake_world
from megatron_codex.planning.operations import Operation
from megatron_codex.planning.rank import StepRecord, record_steps
from megatron_codex.planning.recording import Collective, Phase, Recorder

Operations = Counter[tuple[Phase, Operation]]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Costs of one micro-batch of one sample on one tensor-parallel rank."""

    layer_operations: Operations
    end_operations: Operations
    """Embedding, last norm, output layer and loss."""
    layer_collectives: Counter[Collective]
    end_collectives: Counter[Collective]
    layer_parameters: int
    end_parameters: int
    """Embeddings and last norm."""
    layer_bytes: int
    """What a layer's forward pass keeps for its backward pass."""
    stage_bytes: int
    """What a stage keeps besides its layers' shares."""
    passing_bytes: int
    """What a stage without ends holds for a moment, above what it keeps."""
    last_passing_bytes: int
    """What the last stage holds above its layers' shares but one: the logits and their gradient."""


def probe(config: TrainConfig) -> Probe:
    """Probe the model of a configuration in its tensor-parallel size and recomputation."""
    one, two = (_play(config, layers=layers, stages=3) for layers in (1, 2))
    both = _play(config, layers=1, stages=1)
    layer = _held_after_forward(two) - _held_after_forward(one)
    layer_operations, layer_collectives = two.operations - one.operations, two.collectives - one.collectives
    layer_parameters = two.num_parameters - one.num_parameters
    return Probe(
        layer_operations=layer_operations,
        end_operations=both.operations - layer_operations,
        layer_collectives=layer_collectives,
        end_collectives=both.collectives - layer_collectives,
        layer_parameters=layer_parameters,
        end_parameters=both.num_parameters - layer_parameters,
        layer_bytes=layer,
        stage_bytes=max(0, _held_after_forward(one) - layer),
        passing_bytes=_peak_of_passes(two) - two.events[0].live_bytes,
        last_passing_bytes=_peak_of_passes(both) - both.before_bytes,
    )


def _play(config: TrainConfig, *, layers: int, stages: int) -> StepRecord:
    """One micro-batch of one sample on the middle one of `stages` stages of `layers` layers each."""
    model = replace(config.model, preset=None, num_layers=layers * stages)
    parallel = replace(
        config.parallel,
        pipeline_model_parallel_size=stages,
        virtual_pipeline_model_parallel_size=None,
        use_distributed_optimizer=False,
        overlap_grad_reduce=False,
        overlap_param_gather=False,
    )
    training = replace(config.training, global_batch_size=1, micro_batch_size=1)
    small = replace(config, model=model, parallel=parallel, training=training)
    size = parallel.tensor_model_parallel_size
    recorder = Recorder(dry_run=True)
    with fake_world(rank=stages // 2 * size, world_size=stages * size), model_parallel(parallel) as layout, recorder:
        (record,) = record_steps(small, layout, recorder, num_microbatches=(1,))
    return record


def _held_after_forward(record: StepRecord) -> int:
    return record.events[0].live_bytes - record.before_bytes


def _peak_of_passes(record: StepRecord) -> int:
    # Not of the whole step: Adam's means, which the first step makes, come after its passes.
    return max(event.peak_bytes for event in record.events)
