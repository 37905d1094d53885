"""Configuration of tools/convert_checkpoint.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from megatron_codex.errors import Fault, raise_faults


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Convert a checkpoint: to another layout, or to or from a Hugging Face folder (GPT-2, GPT-Neo)."""

    input: Path
    """A checkpoint (step, checkpoints or run directory), or a Hugging Face folder with config.json."""
    output: Path
    """Directory to write: a run directory with one checkpoint, or a Hugging Face folder. It must not exist yet."""
    to: Literal["checkpoint", "huggingface"]
    """What to write."""
    tensor_model_parallel_size: int = 1
    """checkpoint: tensor-parallel ranks that the files are laid out for. Any layout reads any checkpoint."""
    pipeline_model_parallel_size: int = 1
    """checkpoint: pipeline stages that the files are laid out for."""
    data_parallel_size: int = 1
    """checkpoint: data-parallel ranks among which each model-parallel rank's files are shared out."""
    weights_only: bool = False
    """checkpoint: leave the optimizer's state out: a third of the size, to start from, not to resume."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """huggingface: type of the weights in the files. Checkpoints hold float32."""
    max_shard_size: int = 5_000_000_000
    """huggingface: most bytes of a file of weights, in bytes; a larger tensor has a file of its own."""
    extend_vocabulary: bool = False
    """Of a Hugging Face folder with GPT-2's tokens: add Codex's runs of 2 to 25 spaces. The row of a run is the mean of
    the rows of the tokens that GPT-2 spells it with."""
    seed: int = 1
    """Of the random tokens on which the logits of input and output are compared."""

    def __post_init__(self) -> None:
        sizes = ("tensor_model_parallel_size", "pipeline_model_parallel_size", "data_parallel_size", "max_shard_size")
        faults = [
            Fault(field=name, value=getattr(self, name), rule="must be at least 1", remedy="leave it out")
            for name in sizes
            if getattr(self, name) < 1
        ]
        of_checkpoints = {"weights_only": False, "extend_vocabulary": False} | dict.fromkeys(sizes[:3], 1)
        for name, default in of_checkpoints.items():
            if self.to == "huggingface" and getattr(self, name) != default:
                rule, remedy = "is not read with to = huggingface", "leave it out"
                value = getattr(self, name)
                faults.append(Fault(field=name, value=value, rule=rule, remedy=remedy, others=("to",)))
        if self.to == "checkpoint" and self.dtype != "float32":
            rule, remedy = "is not read with to = checkpoint: checkpoints hold float32", "leave it out"
            faults.append(Fault(field="dtype", value=self.dtype, rule=rule, remedy=remedy, others=("to",)))
        raise_faults(faults)
