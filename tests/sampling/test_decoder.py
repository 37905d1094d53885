"""The decoder's logits equal those of a plain forward pass, whole and step by step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from megatron_codex.sampling.loading import SamplingModel
from tests.sampling.conftest import make_model

TOLERANCE = 1e-4
"""fp32 sums in another order: about 1e-5 at these logits of up to 10."""


def reference_logits(
    tensors: dict[str, Tensor],
    tokens: list[int],
    *,
    num_layers: int,
    num_heads: int,
    bands: tuple[int | None, ...] = (None, None),
) -> Tensor:
    """[S, V padded]: one document, one head and one position at a time, in float64."""
    weights = {name: tensor.double() for name, tensor in tensors.items()}

    def affine(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    embedding = weights["embedding.word_embeddings.weight"]
    x = embedding[tokens] + weights["embedding.position_embeddings.weight"][: len(tokens)]
    size = x.shape[1] // num_heads
    for index in range(num_layers):
        name = f"decoder.layers.{index}"
        qkv = affine(norm(x, f"{name}.input_layernorm"), f"{name}.self_attention.linear_qkv")
        heads = []
        for head in range(num_heads):  # megatron-core: q, k, v of head 0, then of head 1, ...
            q, k, v = qkv[:, 3 * size * head : 3 * size * (head + 1)].split(size, dim=1)
            rows = []
            for place in range(len(tokens)):
                seen = slice(max(0, place + 1 - (bands[index] or len(tokens))), place + 1)
                rows.append(torch.softmax(q[place] @ k[seen].T / math.sqrt(size), dim=0) @ v[seen])
            heads.append(torch.stack(rows))
        x = x + affine(torch.cat(heads, dim=1), f"{name}.self_attention.linear_proj")
        inner = gelu(affine(norm(x, f"{name}.pre_mlp_layernorm"), f"{name}.mlp.linear_fc1"))
        x = x + affine(inner, f"{name}.mlp.linear_fc2")
    return norm(x, "decoder.final_layernorm") @ embedding.T


def _tokens(length: int, seed: int) -> list[int]:
    return torch.randint(300, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


BANDS = (None, 6)
"""The second layer sees six positions."""


@pytest.fixture(scope="module", params=["own", "reference"])
def banded_model(tensors: dict[str, Tensor], request: pytest.FixtureRequest) -> SamplingModel:
    return make_model(tensors, attention_bands=BANDS, kernels=request.param)


def test_banded_layers_give_the_reference_logits(banded_model: SamplingModel, tensors: dict[str, Tensor]) -> None:
    """Whole, and step by step: prompts shorter and longer than the band, until the band has left them behind."""
    prompts = [_tokens(length, seed=length) for length in (3, 1, 40)]
    suffixes = [_tokens(9, seed=100 + row) for row in range(3)]
    decoder = banded_model.decoder
    cache = decoder.cache([decoder.prefill(torch.tensor(prompt))[1] for prompt in prompts], [0, 1, 2])
    dense = make_model(tensors).decoder
    for place in range(9):
        hidden = decoder.step(torch.tensor([suffix[place] for suffix in suffixes]), cache)
        for row, given in enumerate(decoder.logits(hidden)):
            tokens = torch.tensor(prompts[row] + suffixes[row][: place + 1])
            expected = reference_logits(tensors, tokens.tolist(), num_layers=2, num_heads=4, bands=BANDS)[-1, :300]
            torch.testing.assert_close(given.double(), expected, atol=TOLERANCE, rtol=0)
            whole = decoder.logits(decoder.encode(tokens))[-1]
            torch.testing.assert_close(whole.double(), expected, atol=TOLERANCE, rtol=0)
            if len(tokens) > 6:
                assert (dense.logits(dense.encode(tokens))[-1] - given).abs().max() > 100 * TOLERANCE


def test_whole_documents_give_the_reference_logits_without_padded_rows(
    model: SamplingModel, tensors: dict[str, Tensor]
) -> None:
    tokens = _tokens(40, seed=1)
    expected = reference_logits(tensors, tokens, num_layers=2, num_heads=4)[:, :300]
    logits = model.decoder.logits(model.decoder.encode(torch.tensor(tokens)))
    assert logits.shape == (40, 300)
    torch.testing.assert_close(logits.double(), expected, atol=TOLERANCE, rtol=0)


def test_steps_over_prompts_of_unequal_length_give_the_reference_logits(
    any_model: SamplingModel, tensors: dict[str, Tensor]
) -> None:
    """Three prompts, several rows each, and rows dropped on the way: every step of every row."""
    prompts = [_tokens(length, seed=length) for length in (7, 1, 40)]
    prompt_of_row = [0, 0, 0, 1, 2, 2]
    suffixes = [_tokens(9, seed=100 + row) for row in range(6)]
    prefilled = [any_model.decoder.prefill(torch.tensor(prompt)) for prompt in prompts]
    cache = any_model.decoder.cache([cached for _, cached in prefilled], prompt_of_row)
    rows = list(range(6))
    for place in range(9):
        if place == 4:  # prompt 1 loses its only row, prompt 0 one of three
            rows = [0, 2, 4, 5]
            cache.keep(torch.tensor(rows))
        hidden = any_model.decoder.step(torch.tensor([suffixes[row][place] for row in rows]), cache)
        logits = any_model.decoder.logits(hidden)
        for row, given in zip(rows, logits, strict=True):
            tokens = prompts[prompt_of_row[row]] + suffixes[row][: place + 1]
            expected = reference_logits(tensors, tokens, num_layers=2, num_heads=4)[-1, :300]
            torch.testing.assert_close(given.double(), expected, atol=TOLERANCE, rtol=0)


def test_a_cache_outgrows_its_first_room(model: SamplingModel, tensors: dict[str, Tensor]) -> None:
    prompt, suffix = _tokens(3, seed=5), _tokens(80, seed=6)
    cache = model.decoder.cache([model.decoder.prefill(torch.tensor(prompt))[1]], [0])
    for token in suffix:
        hidden = model.decoder.step(torch.tensor([token]), cache)
    expected = reference_logits(tensors, prompt + suffix, num_layers=2, num_heads=4)[-1, :300]
    torch.testing.assert_close(model.decoder.logits(hidden)[0].double(), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("length", [1, 17], ids=["one token", "seventeen tokens"])
def test_prefill_ends_in_the_last_row_of_encode(model: SamplingModel, length: int) -> None:
    tokens = torch.tensor(_tokens(length, seed=3))
    hidden, cache = model.decoder.prefill(tokens)
    assert torch.equal(hidden, model.decoder.encode(tokens)[-1])
    assert cache.length == length
