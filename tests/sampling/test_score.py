"""log p of given texts: against a plain forward pass and against the sampler's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from megatron_codex.config.sampling import GenerationConfig
from megatron_codex.sampling.batch import SampleRequest, decode_batch
from megatron_codex.sampling.loading import SamplingModel
from megatron_codex.sampling.score import score_texts, score_tokens
from megatron_codex.sampling.stopping import StopSequences


def test_every_completion_token_is_scored_given_all_before_it(model: SamplingModel) -> None:
    tokens = torch.randint(300, (30,), generator=torch.Generator().manual_seed(8)).tolist()
    logits = model.decoder.logits(model.decoder.encode(torch.tensor(tokens)))
    logps = torch.log_softmax(logits.double(), dim=-1)
    expected = [float(logps[place - 1, tokens[place]]) for place in range(11, 30)]
    assert score_tokens(model, tokens[:11], tokens[11:]).tolist() == pytest.approx(expected, abs=1e-4)


def test_scores_equal_the_sampler_s_own(model: SamplingModel) -> None:
    prompt = tuple(model.tokenizer.encode("def f(x):\n").tolist())
    config = GenerationConfig(num_samples=8, temperature=0.7, top_p=0.9, max_new_tokens=15)
    requests = [SampleRequest("t", index, prompt) for index in range(8)]
    for sample in decode_batch(model, requests, config=config, stop=StopSequences(("\0never\0",))):
        tokens = [model.token_bytes.index(piece) for piece in _pieces(sample.text, sample.starts)]
        assert score_tokens(model, prompt, tokens).tolist() == pytest.approx(sample.logps, abs=1e-4)


def _pieces(text: bytearray, starts: list[int]) -> list[bytes]:
    ends = [*starts[1:], len(text)]
    return [bytes(text[start:end]) for start, end in zip(starts, ends, strict=True)]


def test_texts_are_tokenised_apart_and_too_long_ones_say_so(model: SamplingModel) -> None:
    prompt, completion = "def f(x):\n", "    return x\n"
    found = list(score_texts(model, [(prompt, completion), (prompt, ""), (prompt, "x " * 200)]))
    tokens = model.tokenizer.encode(completion).tolist()
    expected = score_tokens(model, model.tokenizer.encode(prompt).tolist(), tokens).sum()
    assert found[0] == (pytest.approx(float(expected), abs=1e-4), len(tokens))
    assert found[1:] == [(0.0, 0), None]


def test_padded_ids_take_no_part_in_log_p(model: SamplingModel, tensors: dict[str, Tensor]) -> None:
    """The padding's weights are 50 times larger: with them every log p would be far lower."""
    total = torch.tensor(0.0)
    for token in range(300):
        total += float(torch.tensor(score_tokens(model, [1, 2, 3], [token])).exp().sum())
    assert float(total) == pytest.approx(1.0, abs=1e-4)
