"""The second engine: DeepSpeed's ZeRO drives megatron-core's GPTModel, with tensor parallelism through its `mpu`.

In: the same configuration, model, batches and loss as the first (training/engine.py). Out: the same losses, gradient
norms and weights. ZeRO (arXiv 1910.02054) shares the optimizer's state (1), the gradients (2) and the weights (3) over
the data-parallel ranks; what is offloaded lies in the CPU's memory (arXiv 2101.06840).
"""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn

from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import WorkError
from megatron_codex.model.gpt import build_chunks
from megatron_codex.model.shards import Shard, parameter_shards
from megatron_codex.platform.deepspeed import load_deepspeed
from megatron_codex.platform.megatron_core import parallel_state
from megatron_codex.training.batches import StepBatch
from megatron_codex.training.loss import forward_step

_LARGEST_BUCKET = 500_000_000
"""Elements; DeepSpeed's default. A smaller model needs no larger buffer than itself."""


@dataclass(frozen=True, kw_only=True)
class DeepSpeedEngine:
    """The parts of a training step on this rank: what Engine (training/engine.py) is for megatron-core."""

    zero: Any
    """DeepSpeed's engine: called with tokens, positions, mask and labels."""
    shards: list[Shard]
    """Every parameter and its place in the unsharded model. With zero_stage 3 the parameters themselves are empty."""
    data_parallel_size: int
    _unused_gradients: list[bool] = field(default_factory=lambda: [False], repr=False)

    def zero_gradients(self) -> None:
        """Nothing: DeepSpeed forgets a step's gradients with its update."""
        if self._unused_gradients[0]:
            raise WorkError("engine=deepspeed cannot drop the gradients of a step; use engine=megatron to skip batches")

    def run(self, batch: StepBatch, *, num_tokens: int, forward_only: bool) -> list[Tensor]:
        """Forward and backward of all micro-batches; the sum of unmasked losses of each."""
        sums = []
        micro_batches = iter(batch.micro_batches)
        for _ in batch.micro_batches:
            output, loss_function = forward_step(micro_batches, self.zero, num_tokens=num_tokens)
            loss, _, total = loss_function(output)
            if not forward_only:
                self._unused_gradients[0] = True
                # DeepSpeed averages over the data-parallel ranks; the loss has the global batch's tokens already.
                self.zero.backward(loss * self.data_parallel_size, scale_wrt_gas=False)
            sums.append(total)
        return sums

    def run_alone(self, batch: StepBatch, *, num_tokens: int) -> None:
        """Not to be had: DeepSpeed sums gradients within its backward pass, and never calls an update off."""
        raise AssertionError("update() raises no BadGradientError here")

    def update(self, learning_rate: float) -> float:
        """Clip the gradient and update the weights; the gradient's norm before it was clipped."""
        for group in self.zero.optimizer.param_groups:
            group["lr"] = learning_rate
        self.zero.step()
        self._unused_gradients[0] = False
        assert self.zero.was_step_applied(), "bf16 and fp32 have no loss scale, so no step may be passed over"
        return float(self.zero.get_global_grad_norm())

    def train_mode(self, training: bool) -> None:
        """Switch dropout on (training) or off (evaluation)."""
        self.zero.train(training)


def build_deepspeed_engine(config: TrainConfig) -> DeepSpeedEngine:
    """Build this rank's engine; weights are set by training/state.py. Needs the layout's process groups.

    Raises: InputError when DeepSpeed is not installed.
    """
    deepspeed = load_deepspeed()
    precision = config.training.precision
    (model,) = build_chunks(
        config.model, config.parallel, vocab_size=config.tokenizer.true_vocab_size, precision=precision
    )
    if torch.cuda.is_available() and not config.deepspeed.offload_param:
        model = model.cuda()
    shards = parameter_shards([model])  # before ZeRO-3 takes the parameters apart
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # it prints its memory at each of its own steps
        warnings.simplefilter("ignore")  # of torch functions that it calls by old names
        zero, *_ = deepspeed.initialize(
            model=model, optimizer=_optimizer(config, model), mpu=_TensorParallelGroups(), config=_settings(config)
        )
    return DeepSpeedEngine(zero=zero, shards=shards, data_parallel_size=parallel_state.get_data_parallel_world_size())


def _optimizer(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW with the same two groups as megatron-core makes: parameters of one dimension do not decay."""
    settings = config.optimizer
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
    ]
    betas = (settings.adam_beta1, settings.adam_beta2)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=betas, eps=settings.adam_eps, fused=True)


def _settings(config: TrainConfig) -> dict[str, Any]:
    """DeepSpeed's own configuration. Source: https://www.deepspeed.ai/docs/config-json/."""
    zero = config.deepspeed
    on_gpu = torch.cuda.is_available()
    num_parameters = config.model.num_parameters(config.tokenizer.true_vocab_size)
    bucket = min(_LARGEST_BUCKET, num_parameters)
    in_cpu_memory = {"device": "cpu", "pin_memory": on_gpu}
    sharing: dict[str, Any] = {
        "stage": zero.zero_stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
        "overlap_comm": on_gpu,
        # Biases and layer norms stay whole; every matrix is shared.
        "stage3_param_persistence_threshold": 10 * config.model.hidden_size,
    }
    if zero.offload_optimizer:
        sharing["offload_optimizer"] = in_cpu_memory
    if zero.offload_param:
        sharing["offload_param"] = in_cpu_memory
    return {
        "train_micro_batch_size_per_gpu": config.training.micro_batch_size,
        # This engine's `update` is the end of a step, however many micro-batches came before.
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.optimizer.clip_grad,
        "zero_optimization": sharing,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # its own would have to be compiled; torch's fused AdamW is as parallel
        "bf16": {"enabled": config.training.precision == "bf16"},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "steps_per_print": None,
    }


class _TensorParallelGroups:
    """megatron-core's process groups under DeepSpeed's names, in which "model parallel" means tensor parallel."""

    def __getattr__(self, name: str) -> Any:
        return getattr(parallel_state, name.replace("get_model_parallel", "get_tensor_model_parallel"))
