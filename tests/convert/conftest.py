"""Small random models as checkpoints, written without the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.convert.checkpoint_output import write_checkpoint
from megatron_codex.convert.layout import FileLayout
from megatron_codex.convert.weights import Group, TensorSource, model_shapes
from megatron_codex.model.checkpoint_tensors import CheckpointTensors

BAND_WIDTH = 7
SEQ_LENGTH = 96
STEP = 7


class Nothing:
    """A source for groups that make their tensors out of nothing."""

    def shape(self, name: str) -> tuple[int, ...]:
        raise AssertionError(name)

    def read(self, name: str) -> Tensor:
        raise AssertionError(name)


def model_config(pattern: str, *, num_layers: int = 3, **fields: object) -> ModelConfig:
    if pattern == "alternating":
        fields |= {"attention_pattern": pattern, "band_width": BAND_WIDTH}
    shape = {"num_layers": num_layers, "hidden_size": 32, "num_attention_heads": 4, "seq_length": SEQ_LENGTH}
    return ModelConfig(**(shape | fields))  # type: ignore[arg-type]


def write_run(
    run: Path,
    model: ModelConfig,
    tokenizer: TokenizerConfig,
    *,
    sizes: tuple[int, int, int] = (2, 1, 1),
    norms: str = "random",
) -> Path:
    """A run directory with one checkpoint of random weights, biases, norms and optimizer state. sizes: TP, PP, DP.

    norms: "random"; "zero_gain": one channel of each is its bias; "no_biases": as at the start of training.
    """
    generator = torch.Generator().manual_seed(3)

    def group(name: str, shape: tuple[int, ...]) -> Group:
        def make(source: TensorSource) -> Iterator[Tensor]:
            drawn = torch.randn(shape, generator=generator) * 0.25
            if name.endswith("layernorm.weight"):
                drawn += 1
                drawn[5] *= norms != "zero_gain"
            if name.endswith("layernorm.bias") and norms == "no_biases":
                drawn.zero_()
            yield drawn

        return Group(shapes={name: shape}, make=make)

    shapes = model_shapes(model, vocab_size=tokenizer.true_vocab_size)
    means = {f"optimizer.{mean}.{name}": shape for mean in ("exp_avg", "exp_avg_sq") for name, shape in shapes.items()}
    described = {"step": STEP, "num_updates": STEP, "num_tokens": 100, "has_optimizer": True}
    tensor, pipeline, data = sizes
    write_checkpoint(
        run,
        [group(name, shape) for name, shape in (shapes | means).items()],
        Nothing(),
        layout=FileLayout(
            model=model,
            tensor_model_parallel_size=tensor,
            pipeline_model_parallel_size=pipeline,
            data_parallel_size=data,
        ),
        config={"model": config_to_dict(model), "tokenizer": config_to_dict(tokenizer)},
        described=described,
        inputs=[],
    )
    return run


def step_directory(run: Path) -> Path:
    (found,) = (run / "checkpoints").glob("step_*")
    return found


def weights_of(run: Path) -> dict[str, Tensor]:
    tensors = CheckpointTensors(step_directory(run))
    return {name: tensors.read(name) for name in tensors.weight_names}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each attention pattern, with Codex's whole vocabulary."""
    directory = tmp_path_factory.mktemp("runs")
    return {
        pattern: write_run(directory / pattern, model_config(pattern), TokenizerConfig())
        for pattern in ("dense", "alternating")
    }
