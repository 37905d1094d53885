"""Configuration of tools/train.py: one file for base Codex, Codex-S and Codex-D (Codex paper, sections 3.2 and 4.4).

Rules that join several sections are checked here; those that need the number of ranks by check_world_size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from megatron_codex.config.data import DataConfig
from megatron_codex.config.deepspeed import DeepSpeedConfig
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.optimizer import OptimizerConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.errors import Fault, raise_faults

Task = Literal["base", "codex_s", "codex_d"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The run: its length, batches, precision, evaluation, checkpoints and output."""

    output_dir: Path
    """Directory of the run: checkpoints/, metrics.jsonl, tensorboard/, config.yaml, manifest.json."""
    train_iters: int
    """Optimizer steps of the whole run."""
    global_batch_size: int
    """Samples of one step, over all ranks."""
    micro_batch_size: int = 1
    """Samples a rank runs forward and backward at a time. Memory and speed depend on it, results do not."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the model; with bf16 the optimizer keeps fp32 weights."""
    seed: int = 1
    """Seed of the initial weights, of the order of samples and of dropout. Results do not depend on the layout."""
    eval_interval: int = 0
    """Steps between evaluations, and one at the end; 0: none."""
    eval_iters: int = 10
    """Global batches of one evaluation, at most; each validation sample counts once."""
    log_interval: int = 10
    """Steps between lines of the log. metrics.jsonl has every step."""
    save_interval: int = 0
    """Steps between checkpoints, and one at the end; 0: only at the end."""
    keep_checkpoints: int = 2
    """Newest checkpoints to keep; 0 keeps all."""
    init_from: Path | None = None
    """Checkpoint (step, checkpoints or run directory) whose weights the run starts from; none: random weights."""
    resume: Literal["auto", "never"] = "auto"
    """auto: continue from output_dir's newest whole checkpoint, if there is one; never: refuse when there is one."""

    def __post_init__(self) -> None:
        at_least = {"train_iters": 1, "global_batch_size": 1, "micro_batch_size": 1, "log_interval": 1}
        at_least |= dict.fromkeys(("eval_interval", "eval_iters", "save_interval", "keep_checkpoints", "seed"), 0)
        raise_faults(
            [
                Fault(field=name, value=getattr(self, name), rule=f"must be at least {least}", remedy="see --help")
                for name, least in at_least.items()
                if getattr(self, name) < least
            ]
        )


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
        layout_faults = [*self._tensor_faults(), *self._pipeline_faults(), *self._engine_faults()]
        raise_faults([*self._data_faults(), *layout_faults, *self._batch_faults()])

    def _data_faults(self) -> list[Fault]:
        reads = {"base": ("data_prefix",), "codex_s": ("problems",), "codex_d": ("problems",)}[self.task]
        faults = [
            Fault(field=f"data.{name}", rule=f"is required for task {self.task}", remedy=f"give data.{name}=PATH")
            for name in reads
            if not getattr(self.data, name)
        ]
        foreign = ("problems", "valid_problems") if self.task == "base" else ("data_prefix", "data_weights")
        for name in foreign:
            value = getattr(self.data, name)
            if value:
                rule, remedy = f"is not read by task {self.task}", f"leave it out; this task reads data.{reads[0]}"
                faults.append(Fault(field=f"data.{name}", value=value, rule=rule, remedy=remedy, others=("task",)))
        evaluates = self.training.eval_interval > 0
        if evaluates and self.task != "base" and not self.data.valid_problems:
            rule = f"is required by training.eval_interval = {self.training.eval_interval}"
            remedy = "give data.valid_problems=PATH or training.eval_interval=0"
            faults.append(Fault(field="data.valid_problems", rule=rule, remedy=remedy))
        if evaluates and self.task == "base" and self.data.splits[1] == 0:
            rule = f"has no validation share, which training.eval_interval = {self.training.eval_interval} needs"
            remedy = "for example 98,2,0, or training.eval_interval=0"
            faults.append(Fault(field="data.split", value=self.data.split, rule=rule, remedy=remedy))
        return faults

    def _tensor_faults(self) -> list[Fault]:
        size = self.parallel.tensor_model_parallel_size
        widths = {"num_attention_heads": self.model.num_attention_heads, "ffn_hidden_size": self.model.mlp_size}
        name = "parallel.tensor_model_parallel_size"
        return [
            Fault(
                field=name,
                value=size,
                rule=f"must divide model.{width} = {value}",
                remedy=f"for example {_largest_divisor(value, size)}",
                others=(f"model.{width}", "model.hidden_size"),
            )
            for width, value in widths.items()
            if value % size
        ]

    def _pipeline_faults(self) -> list[Fault]:
        size, chunks = self.parallel.pipeline_model_parallel_size, self.parallel.num_chunks
        layers = self.model.num_layers
        name = "virtual_pipeline_model_parallel_size" if chunks > 1 and layers % size == 0 else None
        name = f"parallel.{name or 'pipeline_model_parallel_size'}"
        if size > layers:
            rule = f"must not exceed model.num_layers = {layers}"
        elif layers % (size * chunks):
            stages = f"{size} stages of {chunks} chunks" if chunks > 1 else f"{size} stages"
            rule = f"{stages} must share model.num_layers = {layers} evenly"
        else:
            return []
        value = chunks if name.endswith("virtual_pipeline_model_parallel_size") else size
        limit = layers // size if name.endswith("virtual_pipeline_model_parallel_size") else layers
        remedy = f"for example {_largest_divisor(limit, value)}"
        return [Fault(field=name, value=value, rule=rule, remedy=remedy, others=("model.num_layers",))]

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
    def lr_decay_iters(self) -> int:
        """Step at which the learning rate has decayed."""
        return self.optimizer.lr_decay_iters or self.training.train_iters


def _changed(section: object, default: object, *, where: str) -> dict[str, object]:
    """The fields of a section that are not at their defaults, by dotted path."""
    return {f"{where}.{name}": value for name, value in vars(section).items() if value != getattr(default, name)}


def _largest_divisor(value: int, limit: int) -> int:
    return max(number for number in range(1, max(1, limit) + 1) if value % number == 0)
