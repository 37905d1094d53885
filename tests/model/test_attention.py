"""Attention's masks: bands, documents of a packed row, padding on the left; and what a backend cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.model.attention import outside_band, require_backend
from megatron_codex.model.initialization import initial_tensor
from tests.parallel.verify_ranks import SMALL

VOCAB_SIZE, SEQ_LENGTH = 300, 24
# megatron-core 0.16.1 warns of its own layer specs and groups.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:megatron")


def _model(**fields: Any) -> ModelConfig:
    return ModelConfig(
        num_layers=2, hidden_size=32, num_attention_heads=4, seq_length=SEQ_LENGTH, init_method_std=0.3, **fields
    )


@pytest.fixture(params=["sdpa", "unfused"])
def banded_gpt(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A GPT on one rank, its second layer with a band of five positions."""
    from megatron_codex.model.gpt import build_chunks
    from megatron_codex.model.shards import parameter_shards
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks
    from megatron_codex.platform.megatron_core import model_parallel_cuda_manual_seed

    model = _model(attention_pattern="alternating", band_width=5, attention_backend=request.param)
    with joined_ranks(), model_parallel(ParallelConfig()), torch.no_grad():
        model_parallel_cuda_manual_seed(0)
        (gpt,) = build_chunks(model, ParallelConfig(), vocab_size=VOCAB_SIZE)
        for shard in parameter_shards([gpt]):
            full = initial_tensor(shard.name, shard.global_shape, model=model, vocab_size=VOCAB_SIZE, seed=1)
            shard.parameter.copy_(full)
        gpt.eval()
        yield gpt


def _logits(gpt: Any, tokens: list[int], documents: list[int], positions: list[int]) -> Tensor:
    """[S, V] of one row."""
    logits_BSV = gpt(torch.tensor([tokens]), torch.tensor([positions]), torch.tensor([documents]))
    assert isinstance(logits_BSV, Tensor)
    return logits_BSV[0, :, :VOCAB_SIZE]


def test_a_document_of_a_packed_row_sees_nothing_of_its_neighbours(banded_gpt: Any) -> None:
    """Other tokens in the neighbours change nothing to the last bit; alone, the document has the same logits."""
    own, lengths = list(range(40, 49)), (7, 9, 6)
    documents = [document for document, length in enumerate(lengths) for _ in range(length)]
    positions = [position for length in lengths for position in range(length)]
    rows = [[first] * 7 + own + [last] * 6 for first, last in ((1, 2), (250, 299))]
    one, other = (_logits(banded_gpt, row, documents, positions) for row in rows)
    assert torch.equal(one[7:16], other[7:16])
    assert not torch.equal(one[:7], other[:7])
    alone = _logits(banded_gpt, own, [0] * 9, list(range(9)))
    torch.testing.assert_close(one[7:16], alone, atol=1e-4, rtol=0)  # fp32 sums in another order, logits of up to 10


def test_padding_on_the_left_is_seen_by_nobody(banded_gpt: Any) -> None:
    own = list(range(40, 53))
    documents, positions = [-1] * 4 + [0] * 13, [0] * 4 + list(range(13))
    one, other = (_logits(banded_gpt, [filler] * 4 + own, documents, positions) for filler in (3, 200))
    assert torch.equal(one[4:], other[4:])
    torch.testing.assert_close(one[4:], _logits(banded_gpt, own, [0] * 13, list(range(13))), atol=1e-4, rtol=0)


def test_a_band_reaches_as_far_as_its_layers_add_up(banded_gpt: Any) -> None:
    """The first layer is dense, so every position is seen through it; the last layer alone sees five."""
    tokens = list(range(100, 120))
    dense_layer, banded_layer = (layer.self_attention.core_attention.band_width for layer in banded_gpt.decoder.layers)
    assert (dense_layer, banded_layer) == (None, 5)
    plain = banded_gpt(torch.tensor([tokens]), torch.arange(20)[None], None)[0, :, :VOCAB_SIZE]
    masked = _logits(banded_gpt, tokens, [0] * 20, list(range(20)))
    torch.testing.assert_close(plain, masked, atol=1e-4, rtol=0)


@pytest.mark.parametrize("band_width", [None, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=["fp32", "bf16"])
def test_documents_one_by_one_are_attended_as_under_a_mask(
    dtype: torch.dtype, tolerance: float, band_width: int | None
) -> None:
    """Outputs and the gradients of queries, keys and values, padding apart; bf16 has 8 bits, 4e-3 in each product."""
    from megatron_codex.model.attention import CausalAttention, hidden_keys
    from megatron_codex.model.transformer_config import transformer_config

    config = transformer_config(_model(), ParallelConfig())
    attention = CausalAttention(config, 1, backend="sdpa", own=True)
    attention.band_width = band_width
    documents = torch.tensor([[-1, -1, 0, 0, 0, 0, 0, -1], [0, 1, 1, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0]])
    inputs = torch.randn(3, 8, 3, 4, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    weight_SB1 = torch.where(documents.t() < 0, 0.0, 1.0)[..., None].to(dtype)
    found = []
    for mask in (documents, hidden_keys(documents)):
        query, key, value = (each.clone().requires_grad_() for each in inputs)
        attended_SBH = attention(query, key, value, mask) * weight_SB1
        attended_SBH.square().sum().backward()
        found.append([attended_SBH.detach(), *(each.grad for each in (query, key, value))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=tolerance, rtol=tolerance)


def test_outside_band() -> None:
    expected = [[0, 1, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]
    assert outside_band(4, band_width=2).int().tolist() == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_the_flash_kernel_needs_a_gpu() -> None:
    with pytest.raises(InputError, match=r"model\.attention_backend: got 'flash'; needs a CUDA device"):
        require_backend("flash")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the flash kernel was not run")
def test_flash_equals_sdpa() -> None:
    from megatron_codex.model.attention import _flash, _sdpa

    query, key, value = (torch.randn(2, 4, 64, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    expected = _sdpa(query.float(), key.float(), value.float(), None, 0.0)
    torch.testing.assert_close(_flash(query, key, value, None, 0.0).float(), expected, atol=2e-2, rtol=0)


@pytest.mark.parametrize(
    ("task", "sections", "words"),
    [
        ("codex_s", {}, "cannot mask documents and padding, which task codex_s needs"),
        ("base", {"data": {"reset_attention_at_documents": True}}, "data.reset_attention_at_documents needs"),
        ("base", {"training": {"precision": "fp32"}}, "cannot compute in training.precision = fp32"),
        ("base", {"model": {"attention_pattern": "alternating", "band_width": 4}}, "cannot mask a band"),
        ("base", {"model": {"attention_backend": "sdpa", "band_width": 4}}, "is not read with attention_pattern"),
        (
            "base",
            {"model": {"attention_backend": "sdpa", "attention_pattern": "alternating"}},
            "band_width: is required",
        ),
        (
            "base",
            {"model": {"attention_backend": "sdpa", "attention_pattern": "alternating", "band_width": 0}},
            "must be at least 1",
        ),
    ],
)
def test_what_a_backend_cannot_do_is_refused_in_one_line(task: str, sections: dict[str, Any], words: str) -> None:
    tree: dict[str, Any] = {"task": task, **{name: dict(SMALL[name]) for name in ("model", "tokenizer", "optimizer")}}
    tree["training"] = SMALL["training"] | {"output_dir": "x", "train_iters": 1, "precision": "bf16"}
    tree["data"] = {"data_prefix": "x"} if task == "base" else {"problems": "x"}
    tree["model"]["attention_backend"] = "flash"
    for name, values in sections.items():
        tree[name] |= values
    with pytest.raises(ConfigError) as caught:
        build_config(TrainConfig, tree)
    assert words in str(caught.value) and "\n" not in str(caught.value)
