"""What is trained: this rank's model chunks, their gradient buffers and the optimizer, as megatron-core builds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from megatron_codex.config.training import TrainConfig
from megatron_codex.model.gpt import build_chunks
from megatron_codex.model.shards import Shard, parameter_shards
from megatron_codex.platform.megatron_core import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    Float16Module,
    OptimizerConfig,
    finalize_model_grads,
    get_forward_backward_func,
    get_megatron_optimizer,
)
from megatron_codex.training.loss import no_scaling


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The parts of a training step on this rank."""

    chunks: list[Any]
    """Model chunks, wrapped: called with tokens, positions, mask and labels."""
    shards: list[Shard]
    """Every parameter and its place in the unsharded model."""
    optimizer: Any
    """megatron-core's optimizer of all chunks."""
    forward_backward: Callable[..., list[Any]]
    """megatron-core's schedule for this layout."""

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set every parameter group's learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def zero_gradients(self) -> None:
        """Forget the last step's gradients."""
        for chunk in self.chunks:
            chunk.zero_grad_buffer()
        self.optimizer.zero_grad()

    def train_mode(self, training: bool) -> None:
        """Switch dropout on (training) or off (evaluation)."""
        for chunk in self.chunks:
            chunk.train(training)


def build_engine(config: TrainConfig) -> Engine:
    """Build this rank's engine; weights are set by training/state.py. Needs the layout's process groups."""
    parallel, precision = config.parallel, config.training.precision
    bare = build_chunks(config.model, parallel, vocab_size=config.tokenizer.true_vocab_size, precision=precision)
    if torch.cuda.is_available():
        bare = [chunk.cuda() for chunk in bare]
    model_config = bare[0].config
    wrapped = [Float16Module(model_config, chunk) if precision == "bf16" else chunk for chunk in bare]
    ddp_config = DistributedDataParallelConfig(
        use_distributed_optimizer=parallel.use_distributed_optimizer,
        overlap_grad_reduce=parallel.overlap_grad_reduce,
        overlap_param_gather=parallel.overlap_param_gather,
        grad_reduce_in_fp32=True,
    )
    chunks = [
        DistributedDataParallel(model_config, ddp_config, chunk, disable_bucketing=number > 0)
        for number, chunk in enumerate(wrapped)
    ]
    optimizer = _build_optimizer(config, chunks)
    model_config.finalize_model_grads_func = no_scaling(finalize_model_grads)
    if parallel.overlap_grad_reduce:
        no_sync = [chunk.no_sync for chunk in chunks]
        model_config.no_sync_func = no_sync if len(no_sync) > 1 else no_sync[0]
    return Engine(
        chunks=chunks,
        shards=parameter_shards(bare),
        optimizer=optimizer,
        forward_backward=get_forward_backward_func(),
    )


def _build_optimizer(config: TrainConfig, chunks: list[Any]) -> Any:
    """AdamW over fp32 weights; matrices and embeddings decay, parameters of one dimension (biases, layer norms) do not.

    megatron-core makes these two groups by itself, but leaves it to its own scheduler to give the second no decay.
    """
    settings, parallel = config.optimizer, config.parallel
    bf16 = config.training.precision == "bf16"
    optimizer = get_megatron_optimizer(
        OptimizerConfig(
            optimizer="adam",
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.adam_beta1,
            adam_beta2=settings.adam_beta2,
            adam_eps=settings.adam_eps,
            clip_grad=settings.clip_grad,
            bf16=bf16,
            params_dtype=torch.bfloat16 if bf16 else torch.float32,
            use_distributed_optimizer=parallel.use_distributed_optimizer,
            overlap_param_gather=parallel.overlap_param_gather,
        ),
        chunks,
        use_gloo_process_groups=False,
    )
    for group in optimizer.param_groups:
        group["weight_decay"] = settings.weight_decay * group["wd_mult"]
        if "fused" in group:  # torch's own AdamW: one C++ pass over each tensor instead of a dozen
            group["fused"], group["foreach"] = True, False
    return optimizer
