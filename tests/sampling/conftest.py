"""A small random GPT under megatron-core's names, and a SamplingModel made of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from megatron_codex.config.load import config_to_dict
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.tokenizer import TokenizerConfig
from megatron_codex.manifest import write_manifest
from megatron_codex.model.checkpoint_files import CHECKPOINTS, FORMAT, OPTIMIZER_PREFIX, step_name
from megatron_codex.model.checkpoint_shards import Piece, write_index, write_shard
from megatron_codex.ops.programs import Kernels
from megatron_codex.sampling.decoder import Decoder
from megatron_codex.sampling.loading import SamplingModel
from megatron_codex.tokenizer.codex import CodexTokenizer

NUM_LAYERS, HIDDEN_SIZE, NUM_HEADS, SEQ_LENGTH, VOCAB_SIZE, PADDED_VOCAB_SIZE = 2, 32, 4, 96, 300, 320
EPSILON = 1e-5


def random_tensors(seed: int = 0, *, std: float = 0.3, hidden_size: int = HIDDEN_SIZE) -> dict[str, Tensor]:
    """Full weights; a large std makes peaked distributions, biases and norms are no identities either."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * std

    H = hidden_size
    shapes = {"self_attention.linear_qkv": (3 * H, H), "self_attention.linear_proj": (H, H)}
    shapes |= {"mlp.linear_fc1": (4 * H, H), "mlp.linear_fc2": (H, 4 * H)}
    tensors = {
        "embedding.word_embeddings.weight": draw(PADDED_VOCAB_SIZE, H),
        "embedding.position_embeddings.weight": draw(SEQ_LENGTH, H),
    }
    for index in range(NUM_LAYERS):
        for name, shape in shapes.items():
            tensors[f"decoder.layers.{index}.{name}.weight"] = draw(*shape)
            tensors[f"decoder.layers.{index}.{name}.bias"] = draw(shape[0])
    norms = [
        f"decoder.layers.{i}.{name}" for i in range(NUM_LAYERS) for name in ("input_layernorm", "pre_mlp_layernorm")
    ]
    for name in [*norms, "decoder.final_layernorm"]:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = 1 + draw(H), draw(H)
    # Padded rows that would win every draw, were they not left out.
    tensors["embedding.word_embeddings.weight"][VOCAB_SIZE:] *= 50
    return tensors


def make_model(
    tensors: dict[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    attention_bands: tuple[int | None, ...] | None = None,
    kernels: Kernels = "auto",
    device: str = "cpu",
) -> SamplingModel:
    tokenizer = CodexTokenizer(vocab_size=VOCAB_SIZE)
    decoder = Decoder(
        tensors,
        num_layers=NUM_LAYERS,
        num_attention_heads=NUM_HEADS,
        seq_length=SEQ_LENGTH,
        layernorm_epsilon=EPSILON,
        vocab_size=VOCAB_SIZE,
        attention_bands=attention_bands,
        dtype=dtype,
        kernels=kernels,
        device=device,
    )
    token_bytes = tuple(tokenizer.token_bytes(token) for token in range(VOCAB_SIZE))
    return SamplingModel(decoder=decoder, tokenizer=tokenizer, token_bytes=token_bytes, checkpoint="random")


@pytest.fixture(scope="session")
def tensors() -> dict[str, Tensor]:
    return random_tensors()


@pytest.fixture(scope="session")
def model(tensors: dict[str, Tensor]) -> SamplingModel:
    return make_model(tensors)


@pytest.fixture(scope="session", params=["own", "reference"])
def any_model(tensors: dict[str, Tensor], request: pytest.FixtureRequest) -> SamplingModel:
    """The model decoded by C++, and by plain torch."""
    return make_model(tensors, kernels=request.param)


def write_checkpoint(directory: Path, tensors: dict[str, Tensor]) -> Path:
    """A step directory as training leaves it, in a run's output directory; returns the run's."""
    step = directory / CHECKPOINTS / step_name(10)
    step.mkdir(parents=True)
    # What training stores besides weights must not be read as weights.
    stored = {**tensors, f"{OPTIMIZER_PREFIX}exp_avg.x": torch.zeros(3)}
    stored["embedding.word_embeddings.weight"] = stored["embedding.word_embeddings.weight"][:VOCAB_SIZE]
    pieces = [
        Piece(name=name, global_shape=tuple(x.shape), offset=(0,) * x.dim(), data=x) for name, x in stored.items()
    ]
    write_shard(step, 0, pieces)
    write_index(step, 1)
    files = {path.name: path.stat().st_size for path in step.iterdir()}
    model = ModelConfig(
        num_layers=NUM_LAYERS, hidden_size=HIDDEN_SIZE, num_attention_heads=NUM_HEADS, seq_length=SEQ_LENGTH
    )
    config = {"model": config_to_dict(model), "tokenizer": config_to_dict(TokenizerConfig(vocab_size=VOCAB_SIZE))}
    extra = {"checkpoint_format": FORMAT, "step": 10, "files": files}
    write_manifest(step, command="train.py", config=config, inputs=[], counts={}, started_at=time.time(), extra=extra)
    return directory


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Tensor]) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run"), tensors)
