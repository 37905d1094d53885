"""Configuration of tools/train.py: one file for base Codex, Codex-S and Codex-D (Codex paper, sections 3.2 and 4.4).

Rules that join several sections are checked here; those that need the number of ranks by check_world_size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from megatron_codex.config.data import DataConfig
from megatron_codex.config.deepspeed import DeepSpeedConfig
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.config.training_run import TrainingConfig
from megatron_codex.errors import Fault, raise_faults

_STAGE_LAYERS = ("num_layers_in_first_pipeline_stage", "num_layers_in_last_pipeline_stage")

_VALIDATION_SHARE = 0.1
"""Of the problems' families, where a run evaluates and is told nothing else."""

Task = Literal["base", "codex_s", "codex_d"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train base Codex, Codex-S or Codex-D."""

    task: Task = "base"
    """base: files laid end to end; codex_s: docstring to code; codex_d: code to docstring."""
    model: ModelConfig
    """The model's shape."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """The vocabulary; the data must have been made with the same."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is read."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """The layout over ranks."""
    engine: Literal["megatron", "deepspeed"] = "megatron"
    """Who trains: megatron-core in any layout, or DeepSpeed's ZeRO with tensor parallelism (docs/engines.md)."""
    deepspeed: DeepSpeedConfig = field(default_factory=DeepSpeedConfig)
    """DeepSpeed's settings."""
    optimizer: OptimizerConfig
    """AdamW and its schedule."""
    training: TrainingConfig
    """The run."""

    def __post_init__(self) -> None:
        raise_faults(self._faults())

    def _faults(self) -> list[Fault]:
        faults = [*self._data_faults(), *self._attention_faults(), *self._tensor_faults(), *self._pipeline_faults()]
        return [*faults, *self._engine_faults(), *self._batch_faults()]

    def _data_faults(self) -> list[Fault]:
        reads = {"base": ("data_prefix",), "codex_s": ("problems",), "codex_d": ("problems",)}[self.task]
        faults = [
            Fault(field=f"data.{name}", rule=f"is required for task {self.task}", remedy=f"give data.{name}=PATH")
            for name in reads
            if not getattr(self.data, name)
        ]
        foreign: tuple[str, ...] = ("data_prefix", "data_weights")
        if self.task == "base":
            foreign = ("problems", "valid_problems", "validation_share", "group_by_length")
        for name in foreign:
            value = getattr(self.data, name)
            if value:
                rule, remedy = f"is not read by task {self.task}", f"leave it out; this task reads data.{reads[0]}"
                faults.append(Fault(field=f"data.{name}", value=value, rule=rule, remedy=remedy, others=("task",)))
        if self.data.group_by_length and self.data.layout == "packed":
            rule, remedy = "is not read with data.layout = packed, whose rows are full", "leave it out"
            faults.append(Fault(field="data.group_by_length", value=True, rule=rule, remedy=remedy))
        evaluates = self.training.eval_interval > 0
        if evaluates and self.task != "base" and not self.data.valid_problems and not self.validation_share:
            rule = f"leaves nothing to validate on, which training.eval_interval = {self.training.eval_interval} needs"
            remedy = "for example 0.1, or give data.valid_problems=PATH or training.eval_interval=0"
            faults.append(Fault(field="data.validation_share", value=0.0, rule=rule, remedy=remedy))
        if evaluates and self.task == "base" and self.data.splits[1] == 0:
            rule = f"has no validation share, which training.eval_interval = {self.training.eval_interval} needs"
            remedy = "for example 98,2,0, or training.eval_interval=0"
            faults.append(Fault(field="data.split", value=self.data.split, rule=rule, remedy=remedy))
        return faults

    def _attention_faults(self) -> list[Fault]:
        if self.model.attention_backend != "flash":
            return []
        field, faults = "model.attention_backend", []
        if self.task != "base" or self.data.reset_attention_at_documents:
            masked = f"task {self.task}" if self.task != "base" else "data.reset_attention_at_documents"
            rule = f"cannot mask documents and padding, which {masked} needs: torch's flash kernel takes no mask"
            others = ("task", "data.reset_attention_at_documents")
            faults.append(Fault(field=field, value="flash", rule=rule, remedy="give sdpa", others=others))
        if self.training.precision != "bf16":
            rule = f"cannot compute in training.precision = {self.training.precision}: torch's flash kernel has none"
            remedy = "give sdpa, or training.precision=bf16"
            faults.append(Fault(field=field, value="flash", rule=rule, remedy=remedy, others=("training.precision",)))
        return faults

    def _tensor_faults(self) -> list[Fault]:
        size = self.parallel.tensor_model_parallel_size
        widths = {"num_attention_heads": self.model.num_attention_heads, "ffn_hidden_size": self.model.mlp_size}
        broken = [f"model.{width} = {value}" for width, value in widths.items() if value % size]
        if not broken:
            return []
        return [
            Fault(
                field="parallel.tensor_model_parallel_size",
                value=size,
                rule=f"must divide {' and '.join(broken)}",
                remedy=f"for example {_largest_divisor(math.gcd(*widths.values()), size)}",
                others=("model.num_attention_heads", "model.ffn_hidden_size", "model.hidden_size"),
            )
        ]

    def _pipeline_faults(self) -> list[Fault]:
        parallel, layers = self.parallel, self.model.num_layers
        if parallel.layers_of_stages(layers) is not None:
            return []
        size, chunks = parallel.pipeline_model_parallel_size, parallel.num_chunks
        stages = f"{size} stages of {chunks} chunks" if chunks > 1 else f"{size} stages"
        rule = f"{stages} must share model.num_layers = {layers} evenly"
        sized = [name for name in _STAGE_LAYERS if getattr(parallel, name) is not None]
        if sized:
            name, value = sized[-1], getattr(parallel, sized[-1])
            rule = f"{stages} must share model.num_layers = {layers}: what the sized ones leave, the others evenly"
            remedy = "give both num_layers_in_first_pipeline_stage and num_layers_in_last_pipeline_stage"
        elif chunks > 1 and layers % size == 0:
            name, value = "virtual_pipeline_model_parallel_size", chunks
            remedy = f"for example {_largest_divisor(layers // size, chunks)}"
        else:
            name, value = "pipeline_model_parallel_size", size
            remedy = f"for example {_largest_divisor(layers, size)}{self._uneven_stages()}"
            rule = rule if size <= layers else f"must not exceed model.num_layers = {layers}"
        others = ("model.num_layers", *(f"parallel.{other}" for other in sized[:-1]))
        return [Fault(field=f"parallel.{name}", value=value, rule=rule, remedy=remedy, others=others)]

    def _uneven_stages(self) -> str:
        """The last stage's size nearest to an even share with which the layers can be shared out, as a remedy."""
        layers, share = self.model.num_layers, self.model.num_layers // self.parallel.pipeline_model_parallel_size
        for last in sorted(range(1, layers), key=lambda last: abs(last - share)):
            uneven = replace(self.parallel, num_layers_in_last_pipeline_stage=last)
            if uneven.layers_of_stages(layers) is not None:
                return f", or parallel.num_layers_in_last_pipeline_stage={last}"
        return ""

    def _engine_faults(self) -> list[Fault]:
        """What an engine does not read: nothing that is given may be passed over."""
        if self.engine == "megatron":
            rule, remedy = "is read with engine=deepspeed only", "give engine=deepspeed, or leave it out"
            unread = _changed(self.deepspeed, DeepSpeedConfig(), where="deepspeed")
        else:
            rule = "is not what engine=deepspeed can do"
            remedy = "leave it out (ZeRO shares what it would share), or give engine=megatron"
            unread = _changed(self.parallel, ParallelConfig(), where="parallel")
            for read in ("parallel.tensor_model_parallel_size", "parallel.recompute"):
                unread.pop(read, None)
            if self.optimizer.backend != "torch":
                unread["optimizer.backend"] = self.optimizer.backend
            if self.training.loss_spike_factor is not None:  # ZeRO cannot drop the gradients of a step
                unread["training.loss_spike_factor"] = self.training.loss_spike_factor
        return [
            Fault(field=name, value=value, rule=rule, remedy=remedy, others=("engine",))
            for name, value in unread.items()
        ]

    def _batch_faults(self) -> list[Fault]:
        """What holds for any number of ranks; the rest is in world_size_faults."""
        global_size, micro_size = self.training.global_batch_size, self.training.micro_batch_size
        if global_size % micro_size == 0:
            return []
        rule = f"must be a multiple of training.micro_batch_size = {micro_size}"
        remedy = f"for example {-(-global_size // micro_size) * micro_size}"
        others = ("training.micro_batch_size",)
        return [Fault(field="training.global_batch_size", value=global_size, rule=rule, remedy=remedy, others=others)]

    def check_world_size(self, world_size: int) -> None:
        """Raise ConfigError for what does not fit this number of ranks."""
        parallel, training = self.parallel, self.training
        size = parallel.model_parallel_size
        if world_size % size:
            tensor, pipeline = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
            rule = f"{world_size} ranks cannot be shared by {tensor} x {pipeline} = {size} model-parallel ranks"
            remedy = f"start a multiple of {size} ranks (torchrun --nproc-per-node), or change these sizes"
            where = "parallel.tensor_model_parallel_size x parallel.pipeline_model_parallel_size"
            raise_faults([Fault(field=where, value=size, rule=rule, remedy=remedy)])
        data_parallel_size = world_size // size
        unit = training.micro_batch_size * data_parallel_size
        where, value = "training.global_batch_size", training.global_batch_size
        if value % unit:
            rule = (
                f"must be a multiple of training.micro_batch_size x data-parallel size = "
                f"{training.micro_batch_size} x {data_parallel_size} = {unit}"
            )
            remedy = f"for example {-(-value // unit) * unit}"
            raise_faults([Fault(field=where, value=value, rule=rule, remedy=remedy)])
        num_microbatches, stages = value // unit, parallel.pipeline_model_parallel_size
        if parallel.interleaved and num_microbatches % stages:
            rule = (
                f"gives {num_microbatches} micro-batches, which the interleaved schedule needs in multiples of {stages}"
            )
            remedy = f"for example {-(-num_microbatches // stages) * stages * unit}"
            raise_faults([Fault(field=where, value=value, rule=rule, remedy=remedy)])

    @property
    def validation_share(self) -> float:
        """Share of the problems' families that is held out of training."""
        if self.data.validation_share is not None or self.task == "base" or self.data.valid_problems:
            return self.data.validation_share or 0.0
        return _VALIDATION_SHARE if self.training.eval_interval > 0 else 0.0

    @property
    def lr_decay_iters(self) -> int:
        """Step at which the learning rate has decayed."""
        return self.optimizer.lr_decay_iters or self.training.train_iters


def _changed(section: object, default: object, *, where: str) -> dict[str, object]:
    """The fields of a section that are not at their defaults, by dotted path."""
    return {f"{where}.{name}": value for name, value in vars(section).items() if value != getattr(default, name)}


def _largest_divisor(value: int, limit: int) -> int:
    return max(number for number in range(1, max(1, limit) + 1) if value % number == 0)
