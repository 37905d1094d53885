"""What is trained: this rank's model chunks, their gradient buffers and the optimizer, as megatron-core builds them.

In: a TrainConfig, in the process groups of its layout. Out: an Engine; or, with engine=deepspeed, the second engine
behind the same three calls (training/deepspeed_engine.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from megatron_codex.config.training import TrainConfig
from megatron_codex.model.gpt import build_chunks
from megatron_codex.model.shards import Shard, parameter_shards
from megatron_codex.platform import apex, transformer_engine
from megatron_codex.platform.adam import adam_class
from megatron_codex.platform.megatron_core import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    Float16Module,
    OptimizerConfig,
    finalize_model_grads,
    get_forward_backward_func,
    get_megatron_optimizer,
)
from megatron_codex.training.batches import StepBatch
from megatron_codex.training.flat_adam import FlatAdam, fuse
from megatron_codex.training.loss import forward_step, no_scaling

_BACKEND = "optimizer.backend"


class BadGradientError(Exception):
    """The gradient's norm is not finite; no weight was changed."""

    def __init__(self, norm: float) -> None:
        super().__init__(f"gradient norm is {norm}")
        self.norm = norm


class TrainingEngine(Protocol):
    """What the loop needs of an engine. A step is zero_gradients, run, update; an evaluation is run, forward only."""

    @property
    def shards(self) -> list[Shard]:
        """Every parameter and its place in the unsharded model."""

    def zero_gradients(self) -> None:
        """Forget the last step's gradients."""

    def run(self, batch: StepBatch, *, num_tokens: int, forward_only: bool) -> list[Tensor]:
        """Forward and backward of all micro-batches; the sum of unmasked losses of each, on the last stage's ranks.

        num_tokens: unmasked tokens of the global batch, which the gradient is divided by.
        """

    def run_alone(self, batch: StepBatch, *, num_tokens: int) -> None:
        """Forward and backward of all micro-batches; gradients are not summed over the data-parallel ranks."""

    def update(self, learning_rate: float) -> float:
        """Clip the gradient and update the weights; the gradient's norm before it was clipped.

        Raises: BadGradientError, on all ranks, when that is not finite, and no weight is changed; an engine that cannot
        leave its weights as they are returns the norm instead.
        """

    def train_mode(self, training: bool) -> None:
        """Switch dropout on (training) or off (evaluation)."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The parts of a training step on this rank."""

    chunks: list[Any]
    """Model chunks, wrapped: called with tokens, positions, mask and labels."""
    shards: list[Shard]
    """Every parameter and its place in the unsharded model."""
    optimizer: Any
    """megatron-core's optimizer of all chunks."""
    flat_adam: FlatAdam | None
    """The Adam inside it that clips by itself, with optimizer.backend = flat_adam."""
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

    def run(self, batch: StepBatch, *, num_tokens: int, forward_only: bool) -> list[Tensor]:
        """Forward and backward of all micro-batches; the sum of unmasked losses of each, on the last stage's ranks."""
        iterators: list[Any] = [iter(batch.micro_batches) for _ in self.chunks]
        several = len(self.chunks) > 1
        sums: list[Tensor] = self.forward_backward(
            forward_step_func=partial(forward_step, num_tokens=num_tokens),
            data_iterator=iterators if several else iterators[0],
            model=self.chunks if several else self.chunks[0],
            num_microbatches=len(batch.micro_batches),
            seq_length=batch.seq_length,
            micro_batch_size=len(batch.micro_batches[0].tokens),
            forward_only=forward_only,
        )
        return sums

    def run_alone(self, batch: StepBatch, *, num_tokens: int) -> None:
        """Forward and backward of all micro-batches; gradients are not summed over the data-parallel ranks."""
        config = self.chunks[0].config
        finalize, config.finalize_model_grads_func = config.finalize_model_grads_func, None
        try:
            with ExitStack() as stack:
                for chunk in self.chunks:
                    stack.enter_context(chunk.no_sync())
                self.run(batch, num_tokens=num_tokens, forward_only=False)
        finally:
            config.finalize_model_grads_func = finalize

    def update(self, learning_rate: float) -> float:
        """Clip the gradient and update the weights; the gradient's norm before it was clipped.

        Raises: BadGradientError when that is not finite; no weight is changed.
        """
        self.set_learning_rate(learning_rate)
        if self.flat_adam is None:
            _, grad_norm, _ = self.optimizer.step()
            return float(grad_norm)
        # The same in its parts: what would scale every gradient in memory becomes a factor of FlatAdam's step.
        self.optimizer.prepare_grads()
        norm = float(self.optimizer.get_grad_norm())
        self.flat_adam.clip(norm, clip_grad=self.optimizer.config.clip_grad)
        self.optimizer.step_with_ready_grads()
        return norm

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
    flat_adam = fuse(optimizer.chained_optimizers[0]) if config.optimizer.backend == "flat_adam" else None
    # megatron-core's step asks for the norm, then clips by it and updates: between the two it can be called off.
    optimizer.get_grad_norm = _finite(optimizer.get_grad_norm)
    model_config.finalize_model_grads_func = no_scaling(finalize_model_grads)
    if parallel.overlap_grad_reduce:
        no_sync = [chunk.no_sync for chunk in chunks]
        model_config.no_sync_func = no_sync if len(no_sync) > 1 else no_sync[0]
    return Engine(
        chunks=chunks,
        shards=parameter_shards(bare),
        optimizer=optimizer,
        flat_adam=flat_adam,
        forward_backward=get_forward_backward_func(),
    )


def fused_adam(backend: str) -> type[Any] | None:
    """The class of optimizer.backend; none for torch's. Raises: InputError where it cannot be used here."""
    if backend == "flat_adam":
        return FlatAdam
    if backend == "apex":
        return apex.fused_adam(_BACKEND)
    return transformer_engine.fused_adam(_BACKEND) if backend == "transformer_engine" else None


def _finite(grad_norm: Callable[[], float]) -> Callable[[], float]:
    def checked() -> float:
        norm = grad_norm()
        if not math.isfinite(norm):
            raise BadGradientError(float(norm))
        return norm

    return checked


def _build_optimizer(config: TrainConfig, chunks: list[Any]) -> Any:
    """AdamW over fp32 weights; matrices and embeddings decay, parameters of one dimension (biases, layer norms) do not.

    megatron-core makes these two groups by itself, but leaves it to its own scheduler to apply their wd_mult.
    """
    settings, parallel = config.optimizer, config.parallel
    bf16 = config.training.precision == "bf16"
    adam = OptimizerConfig(
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
    )
    with adam_class(fused_adam(settings.backend)):
        optimizer = get_megatron_optimizer(adam, chunks, use_gloo_process_groups=False)
    for group in optimizer.param_groups:
        group["weight_decay"] = settings.weight_decay * group["wd_mult"]
        if "fused" in group:  # torch's own AdamW: one C++ pass over each tensor instead of a dozen
            group["fused"], group["foreach"] = True, False
    return optimizer
