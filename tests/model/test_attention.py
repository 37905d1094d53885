"""Attention's masks: bands, documents of a packed row, padding on the left; and what a backend cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from megatron_codex.config.load import build_config
from megatron_codex.config.model import ModelConfig
from megatron_codex.config.parallel import ParallelConfig
from megatron_codex.config.training import TrainConfig
from megatron_codex.errors import ConfigError, InputError
from megatron_codex.model import attention
from megatron_codex.model.attention import Seen, hidden_keys, left_padding, outside_band, require_backend
from megatron_codex.model.initialization import initial_tensor
from megatron_codex.ops.softmax import causal_softmax
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
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks

    with joined_ranks(), model_parallel(ParallelConfig()), torch.no_grad():
        yield _built(_model(attention_pattern="alternating", band_width=5, attention_backend=request.param))


def _built(model: ModelConfig) -> Any:
    from megatron_codex.model.gpt import build_chunks
    from megatron_codex.model.shards import parameter_shards
    from megatron_codex.platform.megatron_core import model_parallel_cuda_manual_seed

    model_parallel_cuda_manual_seed(0)
    (gpt,) = build_chunks(model, ParallelConfig(), vocab_size=VOCAB_SIZE)
    for shard in parameter_shards([gpt]):
        full = initial_tensor(shard.name, shard.global_shape, model=model, vocab_size=VOCAB_SIZE, seed=1)
        shard.parameter.data.copy_(full)
    return gpt.eval()


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
    from megatron_codex.model.attention import CausalAttention
    from megatron_codex.model.transformer_config import transformer_config

    config = transformer_config(_model(), ParallelConfig())
    layer = CausalAttention(config, 1, backend="sdpa", own=True)
    layer.band_width = band_width
    documents = torch.tensor([[-1, -1, 0, 0, 0, 0, 0, -1], [0, 1, 1, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0]])
    inputs = torch.randn(3, 8, 3, 4, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    weight_SB1 = torch.where(documents.t() < 0, 0.0, 1.0)[..., None].to(dtype)
    found = []
    for mask in (documents, hidden_keys(documents, 8)):
        query, key, value = (each.clone().requires_grad_() for each in inputs)
        attended_SBH = layer(query, key, value, mask) * weight_SB1
        attended_SBH.square().sum().backward()
        found.append([attended_SBH.detach(), *(each.grad for each in (query, key, value))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.float(), other.float(), atol=tolerance, rtol=tolerance)


PADDED = torch.tensor([[0] * 8, [-1] * 3 + [0] * 4 + [-1], [-1] * 7 + [0]])
"""A row of eight positions without padding, one with padding on both sides, one of a single token."""


@pytest.mark.parametrize("band_width", [None, 1, 3])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "left_padded"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)], ids=["fp32", "bf16"])
def test_the_registered_softmax_takes_bands_and_left_padding(
    dtype: torch.dtype, tolerance: float, padded: bool, band_width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain torch under a mask made of the documents' ids, against the operation; no mask is made for it."""
    inputs = torch.randn(3, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    counts_BS = PADDED >= 0 if padded else torch.ones_like(PADDED, dtype=torch.bool)
    lengths_B = torch.tensor(left_padding(PADDED.numpy()))
    found = []
    for attend, mask in ((attention._unfused, PADDED), (attention._own_unfused, lengths_B)):
        if attend is attention._own_unfused:
            monkeypatch.setattr(attention, "hidden_keys", None)  # nor called
        query, key, value = (each.clone().requires_grad_() for each in inputs)
        attended = attend(query, key, value, Seen(band_width=band_width, mask=mask if padded else None), 0.0)
        counted = attended * counts_BS[:, None, :, None]
        counted.square().sum().backward()
        found.append([counted.detach(), *(each.grad for each in (query, key, value))])
    for reference, own in zip(*found, strict=True):
        torch.testing.assert_close(own.float(), reference.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("band_width", [None, 5], ids=["dense", "banded"])
def test_a_model_by_the_registered_softmax_is_that_by_the_reference(
    band_width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left-padded prompts through a whole model: losses and every weight's gradient, fp32."""
    from megatron_codex.parallel.groups import model_parallel
    from megatron_codex.parallel.joined import joined_ranks

    called: list[tuple[list[int], int]] = []

    def noted(scores: Tensor, *, left_padding_B: Tensor, window: int, scale: float) -> Tensor:
        called.append((left_padding_B.tolist(), window))
        return causal_softmax(scores, left_padding_B=left_padding_B, window=window, scale=scale)

    monkeypatch.setattr(attention, "causal_softmax", noted)
    banded = {} if band_width is None else {"attention_pattern": "alternating", "band_width": band_width}
    tokens_BS = torch.randint(VOCAB_SIZE, (3, SEQ_LENGTH + 1), generator=torch.Generator().manual_seed(2))
    lengths_B = torch.tensor([0, 9, 20], dtype=torch.int32)
    counts_BS = torch.arange(SEQ_LENGTH) >= lengths_B[:, None]
    positions_BS = (torch.arange(SEQ_LENGTH) - lengths_B[:, None]).clamp(min=0)
    batch = (tokens_BS[:, :-1], positions_BS, lengths_B)
    found = []
    with joined_ranks(), model_parallel(ParallelConfig()):
        for kernels in ("reference", "own"):
            gpt = _built(_model(attention_backend="unfused", kernels=kernels, **banded))
            assert bool(called) is False
            losses_BS = gpt(*batch, labels=tokens_BS[:, 1:], loss_mask=counts_BS.float())
            losses_BS.sum().backward()
            found.append({name: weight.grad for name, weight in gpt.named_parameters()} | {"": losses_BS.detach()})
    assert called == [([0, 9, 20], 0), ([0, 9, 20], band_width or 0)]
    reference, own = found
    for name, expected in reference.items():
        assert (own[name] - expected).abs().max() <= 1e-5 * expected.abs().max(), name


def test_left_padding_is_how_far_each_row_is_padded() -> None:
    assert left_padding(PADDED.numpy()).tolist() == [0, 3, 7]
    assert torch.equal(hidden_keys(torch.tensor([0, 7]), 8), hidden_keys(PADDED[[0, 2]], 8))
    with pytest.raises(AssertionError, match="several documents"):
        left_padding(np.array([[0, 0, 1, 1]]))


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
    query, key, value = (torch.randn(2, 4, 64, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    expected = attention._sdpa(query.float(), key.float(), value.float(), Seen(), 0.0)
    torch.testing.assert_close(attention._flash(query, key, value, Seen(), 0.0).float(), expected, atol=2e-2, rtol=0)


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
